"""Observers of frames that do I/O, each in a folder of its own."""
