"""Methods that read the gradient at the input, or at points around it."""
