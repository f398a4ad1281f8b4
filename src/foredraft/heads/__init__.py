"""Trained drafters that hang on a target: their files (numpy) and modules (torch, imported only when asked for)."""
