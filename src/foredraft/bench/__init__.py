"""The benchmark: drafters against plain decoding, paired prompt by prompt, every figure derived from raw steps."""
