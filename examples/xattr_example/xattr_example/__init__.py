"""A check, a method and a subject for xattr-check."""
