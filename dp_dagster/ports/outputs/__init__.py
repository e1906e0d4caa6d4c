"""Output port kinds, one file each."""
