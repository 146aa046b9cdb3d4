"""Load tests of the served detector: perf_analyzer, our own clients, the search for settings, the planner.

``perf.py``, ``load_test.py``, ``tune.py`` and ``plan.py`` are the commands; see docs/load.md.
"""
