"""Methods that change regions of the input and watch the output."""
