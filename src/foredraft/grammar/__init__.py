"""Guided generation: a JSON schema, regular expression, choice or Lark grammar as a rule of the text, on llguidance."""

from foredraft.core.errors import MissingExtra

try:
    import llguidance  # noqa: F401 - every module here uses it
except ImportError as missing:
    raise MissingExtra("guided generation", "grammar") from missing
