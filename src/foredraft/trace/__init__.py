"""A generation as a page: who proposed each token, what the model held of it, where the time went (docs/trace.md)."""
