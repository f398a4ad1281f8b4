"""Trained drafters that hang on a target: their files (numpy) and their modules (torch, imported only when asked for)."""
