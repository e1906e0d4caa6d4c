"""Engines: what runs SQL. DuckDB is the embedded one; each run has its own work database."""
