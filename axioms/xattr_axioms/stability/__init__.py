"""How much a map changes where the input hardly does: reported, since a constant map never changes."""
