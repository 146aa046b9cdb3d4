"""Simulated cameras whose truth is known: a street, a factory floor, a shop entrance."""
