"""Is the detector still as good as it was? Numbers of every hour, and by consent a sample of pictures.

``docs/drift.md`` says how they are used; ``sightline drift`` reads them.
"""

from sightline.features.drift.drift_watch import DriftWatch, watch_of
from sightline.features.feature import FeatureContext

__all__ = ["DriftWatch", "make", "watch_of"]


def make(context: FeatureContext) -> DriftWatch | None:
    """What a camera's ``drift`` asks for."""
    return watch_of(context.camera, context.state)
