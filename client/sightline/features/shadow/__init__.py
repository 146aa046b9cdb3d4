"""Shadow models: a candidate sees a sample of a camera's live frames; ``docs/shadow.md`` has the meaning."""

from sightline.features.feature import FeatureContext
from sightline.features.shadow.shadow_observer import Shadow

__all__ = ["Shadow", "make"]


def make(context: FeatureContext) -> Shadow | None:
    """The camera's candidate, with slots of its own and the lowest priority."""
    model = context.camera.shadow.model
    if model is None:
        return None
    return Shadow(
        context.camera,
        context.candidate(model),
        live_model=context.live_model,
        lossless=context.lossless,
        busy=context.is_busy,
    )
