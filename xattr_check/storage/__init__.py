"""Names by content, and files whole or not at all: digests of tensors and sources, the store."""
