"""Contracts as SQL: one statement that counts the failing rows of all rules, in the dialect of an engine."""
