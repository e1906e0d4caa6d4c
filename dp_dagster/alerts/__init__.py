"""Alerts: what is wrong with a product, told once to those who must know, and once more when it is over."""
