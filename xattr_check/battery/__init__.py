"""The decision: the loop that judges one method by one check, its controls, its sentences."""
