"""What units of a model stand for: dissection, and which of them a prediction depends on."""
