"""The command line: :mod:`sightline.cli.main` lists the commands."""

from sightline.cli.main import build_parser, main

__all__ = ["build_parser", "main"]
