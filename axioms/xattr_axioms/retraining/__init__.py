"""Checks that train networks without the features ranked first, or with them alone."""
