"""From frames to detections: the only room of the live path that imports tritonclient."""
