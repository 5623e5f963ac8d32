"""Checks of this package, one in each module."""
