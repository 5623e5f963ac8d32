"""Models made of the subject's own, and what calling one costs."""
