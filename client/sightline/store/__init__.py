"""From results to rows, and from rows to queries."""
