"""All cameras, and the outside world."""
