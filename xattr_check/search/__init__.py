"""Small random networks, and the smallest on which a statement about attributions does not hold."""
