"""Checks that compare maps of the model with maps of a randomised one."""
