"""Who may see what: identities, grants, masks and row filters, one decision for every kind of port."""
