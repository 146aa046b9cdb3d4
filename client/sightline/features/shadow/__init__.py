"""Shadow models: a candidate sees a sample of a camera's live frames; ``docs/shadow.md`` has the meaning."""
