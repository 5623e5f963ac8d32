"""The command xattr-check."""
