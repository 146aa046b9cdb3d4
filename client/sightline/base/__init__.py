"""What knows no camera: logs, processes, back-off, statistics."""
