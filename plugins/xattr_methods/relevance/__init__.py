"""Methods that pass relevance back from layer to layer."""
