"""python -m smallprint."""

from smallprint.cli import main

main()
