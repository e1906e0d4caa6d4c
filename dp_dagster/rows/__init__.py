"""Published rows, ready to be asked: lookups and pages from a row store, bulk reads from the published files."""
