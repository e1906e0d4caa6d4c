"""The descriptor: what ``product.yaml`` says, as frozen models, with the place of every value."""
