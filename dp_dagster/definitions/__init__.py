"""The Dagster projection: a resolved product as assets, checks, freshness, schedules and sensors.

The only part that imports dagster. One file for each Dagster role.
"""
