"""Controls: methods that know nothing of the model, and the one that knows the truth."""
