"""Lineage: which columns are made from which, within a product and across products, and by which versions."""
