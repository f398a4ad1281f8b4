"""llama.cpp as the other side of a comparison: built, benchmarked and served by the scripts of this folder."""
