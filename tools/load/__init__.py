"""Load tests of the served detector and the planner; the commands are in docs/load.md."""
