"""Transform kinds, one file each."""
