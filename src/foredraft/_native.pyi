"""Compiled from native/src; what each name does is said where it is bound (bind_*.cpp)."""

from typing import Any

def __getattr__(name: str) -> Any: ...
