"""The battery as a diagnostic test: what of broken methods it finds, and what maps are like."""
