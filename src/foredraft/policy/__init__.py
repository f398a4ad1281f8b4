"""Policies: how much to draft."""
