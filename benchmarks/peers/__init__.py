"""Other engines that speculate on a processor, each behind one small class."""
