"""ODCS: contracts as YAML documents of the Bitol standard, versions 3.0 to 3.2."""
