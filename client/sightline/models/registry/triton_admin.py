"""A running Triton and its models: load, unload, what is ready, whether one answers as it should."""

import time
from contextlib import AbstractContextManager
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from sightline.config import Transport, TritonOptions
from sightline.config.yaml_text import read_secret
from sightline.entities import ClockSource, Frame
from sightline.errors import AdminError, DetectorError, TritonAway
from sightline.inference.client import TritonConnection
from sightline.video.picture import YuvPicture

GREY = 114
LOAD_TIMEOUT_S = 900.0  # a plan of hundreds of megabytes, or a compilation on a slow machine
CALL_TIMEOUT_S = 10.0
LIVE_TIMEOUT_S = 2.0
AWAY_CURE = "start it with `sightline triton serve`, or name the one that runs"


class TritonAdmin(AbstractContextManager["TritonAdmin"]):
    """One connection to Triton's gRPC; it sends the key ``SIGHTLINE_TRITON_KEY``, where there is one.

    All raise a TritonAway when nothing answers, an AdminError when Triton refuses, or a model does not answer
    as a detector does.
    """

    def __init__(self, url: str) -> None:
        try:
            TritonOptions(url=url)
        except ValueError as error:  # gRPC would blame the host's name
            raise AdminError(f"Triton's gRPC is HOST:PORT or unix:/PATH, not {url!r}") from error
        self.url = url
        self._client = InferenceServerClient(url)
        key, _ = read_secret("SIGHTLINE_TRITON_KEY")
        self._headers = {"triton-grpc-protocol-sightline": key} if key else {}  # as in deploy/triton.sh

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def load(self, name: str) -> None:
        """Load a model as its configuration on disk says; what serves under the name goes on until then."""
        self._call(self._client.load_model, name, client_timeout=LOAD_TIMEOUT_S)

    def unload(self, name: str) -> None:
        """Unload a model and wait until it has gone, unless requests keep it busy; its steps stay."""
        self._call(self._client.unload_model, name, client_timeout=CALL_TIMEOUT_S)
        deadline = time.monotonic() + 3 * CALL_TIMEOUT_S
        while any(state in {"READY", "UNLOADING"} for state in self.states().get(name, {}).values()):
            if time.monotonic() > deadline:
                raise AdminError(f"{name} has been told to leave, but is still there")
            time.sleep(0.05)

    def states(self) -> dict[str, dict[int, str]]:
        """By model and version: READY, LOADING, UNLOADING or UNAVAILABLE."""
        states: dict[str, dict[int, str]] = {}
        answer = self._call(self._client.get_model_repository_index, client_timeout=CALL_TIMEOUT_S)
        for item in answer.models:
            if item.version:
                states.setdefault(item.name, {})[int(item.version)] = item.state
        return states

    def ready(self, name: str) -> list[int]:
        """The versions of a model that answer now."""
        return sorted(version for version, state in self.states().get(name, {}).items() if state == "READY")

    def is_ensemble(self, name: str, version: int) -> bool:
        """Whether the steps of a loaded version are models of their own."""
        return bool(self._config(name, version).ensemble_scheduling.step)

    def precision(self, name: str, version: int) -> str:
        """What a loaded detector's network is computed in: as its own configuration in Triton says."""
        config = self._config(name, version)
        for step in config.ensemble_scheduling.step:
            if step.model_name.startswith("yolo"):
                config = self._config(step.model_name, step.model_version)
        return str(config.parameters["precision"].string_value)

    def probe(self, name: str) -> str:
        """Have a grey picture detected and check the boxes; gives the answering version's full name."""
        options = TritonOptions(url=self.url, model=name, transport=Transport.GRPC)
        grey = av.VideoFrame.from_ndarray(np.full((96, 64), GREY, np.uint8), "yuv420p")
        frame = Frame(YuvPicture(grey, VideoReformatter()), 0, 0.0, 0.0, ClockSource.ARRIVAL, 0.0)
        try:
            with TritonConnection(options, "probe") as connection:
                detector = connection.model()
                detector.connect()
                boxes = detector.submit([frame])[0].result(CALL_TIMEOUT_S)
        except (DetectorError, TimeoutError) as error:
            raise AdminError(f"Triton at {self.url}: {error or 'no answer'}") from error
        scores, class_ids, model = boxes.scores, boxes.class_ids, boxes.model
        classes = len(model.class_names) if model else 0
        good = np.isfinite(boxes.xyxy).all() and (scores >= 0).all() and (scores <= 1).all()
        if model is None or not good or (class_ids < 0).any() or (class_ids >= classes).any():
            raise AdminError(f"{name} gives boxes, scores or classes that are none ({classes} classes)")
        return model.version

    def _config(self, name: str, version: int) -> Any:
        method = self._client.get_model_config
        return self._call(method, name, str(version), client_timeout=CALL_TIMEOUT_S).config

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, headers=self._headers, **options)
        except InferenceServerException as error:
            problem = f"Triton at {self.url}: {str(error.message()).strip()}"
            if self._is_away():
                raise TritonAway(f"{problem}; {AWAY_CURE}") from error
            raise AdminError(problem) from error

    def _is_away(self) -> bool:
        try:
            self._client.is_server_live(client_timeout=LIVE_TIMEOUT_S)
        except InferenceServerException as error:
            return error.status() in {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}
        return False
