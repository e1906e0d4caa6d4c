"""Contracts: what may be published. Formats compile into rules; evaluators run them."""
