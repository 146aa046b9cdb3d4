"""Which versions of a model answer, and what each says of itself."""

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace

from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from sightline.entities import ModelInfo
from sightline.errors import DetectorError, DetectorMismatch, DetectorOutdated
from sightline.inference.segments import Call

MAX_KNOWN = 8  # versions remembered
_CHECK_EVERY_S = 0.1
_KIND_CPU = model_config_pb2.ModelInstanceGroup.Kind.Value("KIND_CPU")


class ModelVersions:
    """The versions of one model, learnt as answers name them: one or two calls for each.

    The stream's thread calls it for each answer; the thread that sends reads :attr:`newest`, the version that
    gave the latest one.
    """

    def __init__(self, name: str, call: Call) -> None:
        """Ask which version serves now.

        Raises a DetectorUnavailable when the server is away or has no such model, a DetectorMismatch when the
        model does not say what it is.
        """
        self._name = name
        self._call = call
        self._known: dict[str, ModelInfo] = {}
        self._checked_s = -_CHECK_EVERY_S
        self.newest = self._read()

    def info(self, version: str) -> ModelInfo:
        """What the version that gave an answer says of itself; a DetectorError when it has left already."""
        info = self._known.get(version)
        if info is None:
            while len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            info = self._known[version] = self._read(version)
        self.newest = info
        return info

    def outdated_or(self, error: DetectorError, meant_for: ModelInfo) -> DetectorError:
        """A refusal as it is, or as :class:`DetectorOutdated` when the frame was made for another version."""
        if type(error) is not DetectorError:
            return error
        now = time.monotonic()
        if self.newest == meant_for and now - self._checked_s >= _CHECK_EVERY_S:
            self._checked_s = now
            with contextlib.suppress(DetectorError):  # keep the original refusal
                self.newest = self._read()
        return error if self.newest == meant_for else DetectorOutdated(str(error))

    def _read(self, version: str = "") -> ModelInfo:
        """Ask the server what a version says of itself; without a version, the one that serves now."""
        config = self._call("ModelConfig", pb.ModelConfigRequest(name=self._name, version=version)).config
        parameters = {key: value.string_value for key, value in config.parameters.items()}
        on_cpu = any(group.kind == _KIND_CPU for group in config.instance_group)
        info = parse_model_info(self._name, parameters, config.max_batch_size)
        return replace(info, answers_later=config.backend == "python" and on_cpu)


def parse_model_info(name: str, parameters: Mapping[str, str], max_batch: int = 1) -> ModelInfo:
    """What a client needs to know, from the ``parameters`` of the served model's configuration.

    Raises a DetectorMismatch when one is missing or no number.
    """
    try:
        return ModelInfo(
            name=name,
            version=parameters["model_version"],
            class_names=tuple(json.loads(parameters["class_names"])),
            network_height=int(parameters["network_height"]),
            network_width=int(parameters["network_width"]),
            precision=parameters["precision"],
            score_floor=float(parameters["score_floor"]),
            max_batch=max(1, max_batch),
        )
    except (KeyError, ValueError) as error:
        what = f"model {name!r} does not say what it is (parameter {error}); run `sightline model export`"
        raise DetectorMismatch(what) from error
