"""Bugs that this field keeps finding again, one a class. The audit has to catch every one of them."""
