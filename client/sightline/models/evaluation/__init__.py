"""Accuracy of networks: what was detected on a labelled set, measured, compared, and drawn."""
