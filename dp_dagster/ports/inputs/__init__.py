"""Input port kinds, one file each."""
