"""Training of the bundled detector, in an environment of its own: docs/detector.md."""
