"""Ports: how data comes into a product and how consumers reach it. One file a kind."""
