"""Sightline: many cameras watched at once, counted by the clock, and honest about what was not seen."""

__version__ = "0.1.0"
