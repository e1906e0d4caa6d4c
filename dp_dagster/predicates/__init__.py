"""Conditions on rows: what a consumer's filter and an access rule's row filter are both made of."""
