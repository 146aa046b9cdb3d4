"""Shadow models: a candidate sees a sample of a camera's live frames; ``docs/shadow.md`` has the meaning."""

from sightline.features.feature import FeatureContext
from sightline.features.shadow.recorder import Recorder
from sightline.features.shadow.shadow_observer import Shadow

__all__ = ["Shadow", "make"]


def make(context: FeatureContext) -> Shadow | None:
    """The camera's candidate, with slots of its own and the lowest priority."""
    camera, options = context.camera, context.camera.shadow
    if options.model is None:
        return None
    return Shadow(
        camera.name,
        options,
        context.candidate(options.model),
        Recorder(camera.name, options, camera.drift, camera.shaping_options(), context.live_model),
        lossless=context.lossless,
        busy=context.is_busy,
    )
