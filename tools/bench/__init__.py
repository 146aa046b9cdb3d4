"""Benchmarks of the whole and of its parts, the soak test and the scoreboard."""
