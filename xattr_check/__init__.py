"""The engine of xattr-check: methods × axioms × subjects become verdicts."""
