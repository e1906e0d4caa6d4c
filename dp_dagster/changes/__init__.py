"""What changed from one published version of a dataset to the next: computed once, kept, read through a view."""
