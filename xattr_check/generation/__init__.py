"""Features made with the model in the loop, and the certificate of what they do."""
