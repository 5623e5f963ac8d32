"""Numbers about numbers: intervals, gates, similarity, sensitivity indices. Knows no model."""
