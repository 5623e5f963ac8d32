"""Checks on features that were generated with the model in the loop."""
