"""Operators that break a method as real code is broken, and the mutants that they make."""
