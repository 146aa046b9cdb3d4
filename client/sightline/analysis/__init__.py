"""From detections to results. Pure: no I/O, no clock, no thread."""
