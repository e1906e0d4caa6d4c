"""Policies that come with dp_dagster. They register by entry point, as those of others do."""
