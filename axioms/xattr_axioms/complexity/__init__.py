"""How much there is to read in a map: reported, since what is right may be anywhere."""
