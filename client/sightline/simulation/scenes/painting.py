"""The way from a scene's spec to its pictures (needs OpenCV: the extra ``scenes``)."""

from __future__ import annotations

from collections.abc import Callable

from sightline.errors import ServerError
from sightline.simulation.scenes.arrays import U8
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.viewpoints import camera_of
from sightline.simulation.scenes.world import Snapshot


def painter(spec: SceneSpec) -> Callable[[Snapshot], U8]:
    """What draws the scene: snapshot -> uint8 sRGB [height, width, 3]. Making it takes seconds.

    Raises:
        ServerError: OpenCV is not installed.
    """
    try:
        from sightline.simulation.scenes.render import Renderer  # noqa: PLC0415 - OpenCV is an extra
        from sightline.simulation.scenes.stages import stage_of  # noqa: PLC0415
    except ImportError as error:
        raise ServerError("pictures of scenes need OpenCV: pip install 'sightline[scenes]'") from error
    return Renderer(spec, stage_of(spec), camera_of(spec)).draw
