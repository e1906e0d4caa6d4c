"""Service levels that are measured: objectives evaluated, readings kept, budgets counted."""
