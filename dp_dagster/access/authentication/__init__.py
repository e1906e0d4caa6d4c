"""Who asks: what a served port demands of them, and the identity that follows."""
