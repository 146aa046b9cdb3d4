"""Real pictures for perf_analyzer: frames of a video, as a client writes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.base.letterbox import letterboxed
from sightline.errors import ServerError
from sightline.simulation.stack import fetch
from sightline.video.picture import YuvPicture

PICTURES = 16
_SPAN = 600  # frames of the video that the pictures are spread over


def network_size(http: str, model: str) -> tuple[int, int]:
    """Width and height of the network that is served.

    Raises:
        ServerError: the server gives no answer, or the model does not say what it takes.
    """
    parameters = model_config(http, model).get("parameters", {})
    try:
        width, height = (int(parameters[f"network_{side}"]["string_value"]) for side in ("width", "height"))
    except KeyError as error:
        raise ServerError(
            f"{model!r} does not say what size it takes: parameter {error} is missing"
        ) from error
    return width, height


def model_config(http: str, model: str) -> dict[str, Any]:
    """The configuration with which a model is served."""
    return get_json(f"{http}/v2/models/{model}/config")


def get_json(url: str) -> dict[str, Any]:
    """What a server answers.

    Raises:
        ServerError: nothing, or an error.
    """
    return dict(json.loads(fetch(url)))


def pictures(source: Path | None, width: int, height: int) -> list[np.ndarray]:
    """Up to 16 pictures, uint8 [3/2·height, width], I420, spread over the first frames of the video.

    Without a video: noise.
    """
    if source is None:
        rng = np.random.default_rng(0)
        return list(rng.integers(0, 256, (PICTURES, height * 3 // 2, width), np.uint8))
    scaler = av.video.reformatter.VideoReformatter()
    with av.open(str(source)) as container:
        frames = islice(container.decode(video=0), 0, _SPAN, _SPAN // PICTURES)
        found = [letterboxed(YuvPicture(frame, scaler), (height, width))[0] for frame in frames]
    return found[:PICTURES]


def write_input(frames: Sequence[np.ndarray], path: Path) -> Path:
    """The pictures as perf_analyzer takes them."""
    data = [
        {"frame": {"b64": base64.b64encode(frame.tobytes()).decode(), "shape": list(frame.shape)}}
        for frame in frames
    ]
    path.write_text(json.dumps({"data": data}))
    return path
