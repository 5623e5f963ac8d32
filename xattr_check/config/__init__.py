"""From what was typed, on a command line or in xattr.yaml, to objects."""
