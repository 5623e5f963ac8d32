"""Methods that read the activations of a layer."""
