"""The code location of this product."""

from dp_dagster import load_product

defs = load_product(__file__)
