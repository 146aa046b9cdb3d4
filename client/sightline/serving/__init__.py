"""What runs in Triton, and what starts it."""
