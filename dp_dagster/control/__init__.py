"""The control port: how governance watches every product without asking its team."""
