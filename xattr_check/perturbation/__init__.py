"""Outputs and gradients of a model on changed inputs, in chunks that fit a memory budget."""
