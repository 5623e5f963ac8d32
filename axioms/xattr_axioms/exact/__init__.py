"""Exact axioms, which gate the methods that claim them."""
