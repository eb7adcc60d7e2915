"""``python -m xprnn.cli``."""

from xprnn.cli import main

main()
