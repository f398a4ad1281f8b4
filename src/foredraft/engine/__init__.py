"""The engine: one loop over rounds, sequences, and the public `LLM`."""
