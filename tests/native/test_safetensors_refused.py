"""Directories that the native engine does not read, damaged ones, and which engine a directory gets."""
