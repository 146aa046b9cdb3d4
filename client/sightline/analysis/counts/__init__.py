"""Clock-aligned windows and how much of them was watched."""
