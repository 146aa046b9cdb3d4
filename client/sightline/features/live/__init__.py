"""What is seen of a camera now: pictures and boxes for those who watch. ``docs/live.md``."""
