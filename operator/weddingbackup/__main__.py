"""`python -m weddingbackup` is the command `weddingbackup`."""

from weddingbackup.cli import main

main()
