"""foredraft: speculative decoding with the model's own output."""

__version__ = "0.1.0"
