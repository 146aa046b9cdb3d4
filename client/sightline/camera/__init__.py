"""Cameras at work in one process."""
