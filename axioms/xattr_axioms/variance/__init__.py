"""Checks against variance-based sensitivity indices of regions."""
