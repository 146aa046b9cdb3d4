"""Shadow models: a candidate sees a sample of a camera's live frames; ``docs/shadow.md`` has the meaning."""

from sightline.features.shadow.shadow_observer import Shadow, make

__all__ = ["Shadow", "make"]
