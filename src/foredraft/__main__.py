"""`python -m foredraft`."""

from foredraft.cli import main

main()
