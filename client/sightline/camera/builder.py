"""Builds a camera from its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.options import analysis_options
from sightline.base.bell import Bell
from sightline.base.stats import StageTimes
from sightline.camera.detector_link import CandidateDetector, DetectorLink, ServedModels
from sightline.camera.messages import CameraSpec
from sightline.camera.pipeline import Pipeline
from sightline.camera.running_camera import RunningCamera
from sightline.config import Camera, TritonOptions
from sightline.entities import STAGES
from sightline.features import FEATURES, FeatureContext
from sightline.video.clock import UtcClock
from sightline.video.container import is_file
from sightline.video.decoders import DecoderChoice
from sightline.video.feed import Feed, FrameSource
from sightline.video.mailbox import Mailbox
from sightline.video.names import check_name
from sightline.video.open_gate import OpenGate
from sightline.video.source import Source


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What the cameras of a worker share."""

    triton: TritonOptions
    models: ServedModels
    gate: OpenGate
    bell: Bell


def build_camera(
    spec: CameraSpec, parts: SharedParts, link: DetectorLink, make_source: Callable[..., FrameSource] = Source
) -> RunningCamera:
    """One camera, ready to be started.

    Args:
        spec: its options, and what it goes on from.
        parts: what it shares with its neighbours.
        link: the model that looks at its frames.
        make_source: as :class:`Source` is made.
    """
    camera = spec.camera
    stages = StageTimes(STAGES)
    mailbox = Mailbox(parts.bell, lossless=spec.until_end)
    analysis = CameraAnalysis(analysis_options(camera), state=spec.resume)
    if link.info is not None:
        analysis.use_model(link.info)
    pipeline = Pipeline(
        mailbox,
        analysis,
        stages,
        parts.bell,
        in_flight=parts.triton.in_flight,
        deadline_s=parts.triton.deadline_s,
    )
    decoder = DecoderChoice(camera)
    source_of = partial(make_source, clock=UtcClock(), decoder=decoder, realtime=not spec.until_end)
    feed = Feed(
        camera.name,
        partial(source_of, camera),
        mailbox,
        stages,
        prepare=partial(_check_name, camera),
        until_end=spec.until_end,
        gate=parts.gate,
    )
    for feature in FEATURES:
        context = FeatureContext(
            camera=camera,
            state=spec.resume.get(feature.name),
            live_model=camera.detect.model or parts.triton.model,
            lossless=spec.until_end,
            is_busy=lambda: len(mailbox) > 0,
            candidate=partial(CandidateDetector, parts.models),
        )
        pipeline.add_feature(feature.name, partial(feature.make, context))
    return RunningCamera(camera, feed, pipeline, link, decoder, source_of)


def _check_name(camera: Camera) -> None:
    if not is_file(camera.source_url):
        check_name(camera.source_url, camera.stream.open_timeout_s)
