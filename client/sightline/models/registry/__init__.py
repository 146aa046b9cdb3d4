"""Versions of networks in a model repository, and which of them Triton serves."""
