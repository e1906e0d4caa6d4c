"""Data products as Dagster code locations."""
