"""Cameras that are not there, whose truth is known."""
