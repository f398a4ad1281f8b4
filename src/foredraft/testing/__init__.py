"""For tests, our own and third parties': exact enumeration and conformance kits."""
