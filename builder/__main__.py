"""`python -m builder` is `builder`."""

from builder.cli import main

main(prog_name="builder")
