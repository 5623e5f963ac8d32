"""Runs kept, and held against each other."""
