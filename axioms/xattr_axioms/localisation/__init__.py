"""Checks that compare maps with the mask of what makes the target."""
