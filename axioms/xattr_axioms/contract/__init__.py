"""Checks of the contract: what any method has to return and to leave alone."""
