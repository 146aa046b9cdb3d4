"""The episodes of a folder, each through both models' trackers, rules and windows, which begin anew.

What differs then is the models' doing alone: same frames, same times, same lines and zones.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import AnalysisOptions, TrackerOptions
from sightline.analysis.pairing import EventKey, PairCounts, pair_boxes, pair_events
from sightline.config.zones import Line, Zone
from sightline.entities import Detections, Event, ModelInfo
from sightline.errors import ShadowError
from sightline.features.shadow import episode

TOGETHER_S = 2.0  # events of two models closer than this, and equal in all else, are one event
MIN_FOR_PROCESSES = 20  # episodes; fewer are compared in this process
SCORE_BINS = 10  # of 0..1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model would have reported of an episode."""

    counts: Mapping[tuple[float, str], int]  # by window start and class, as in ``count_windows``
    events: tuple[Event, ...]  # what its rules saw, by time
    scores: tuple[int, ...]  # int, boxes by tenth of their score, 0..1


@dataclass(frozen=True)
class ComparedEpisode:
    """One episode that says something."""

    path: Path  # its file
    head: episode.EpisodeHead  # what it is
    windows: dict[tuple[float, str], PairCounts]  # by window start and class, what would stand in the rows
    events: dict[EventKey, PairCounts]
    differing: list[tuple[str, Event]]  # what only one of both saw: ``live`` or ``candidate``, and the event
    boxes: PairCounts  # boxes that start tracks; ``both``: same class, overlap of a half or more
    iou: float  # overlaps of those that agree, added
    scores: tuple[tuple[int, ...], tuple[int, ...]]  # boxes by tenth of their score, live and candidate


@dataclass(frozen=True)
class ComparedEpisodes:
    """The episodes of one candidate beside one live version."""

    newest: episode.EpisodeHead  # names both models and their versions
    good: list[ComparedEpisode]
    void: list[episode.EpisodeHead]
    others: int  # episodes of earlier versions: left out


def collect(folder: Path, model: str | None = None, camera: str | None = None) -> ComparedEpisodes:
    """Compare all of the newest pair of versions; ShadowError: none, several candidates, a strange file."""
    paths = sorted(folder.glob(f"{camera or '*'}/*{episode.SUFFIX}"), key=lambda path: (path.name, path))
    heads = {path: episode.read_lines(path)[0] for path in paths}
    heads = {path: head for path, head in heads.items() if model in {None, head.candidate_model}}
    if not heads:
        raise ShadowError(f"{folder} holds no episode" + (f" of {model}" if model else ""))
    models = sorted({head.candidate_model for head in heads.values()})
    if len(models) > 1:
        raise ShadowError(f"{folder} holds several candidates: name one of {', '.join(models)}")
    known = [head for head in heads.values() if head.candidate_version]
    newest = max(known or list(heads.values()), key=lambda head: head.start)
    pair = (newest.candidate_version, newest.live_version)
    mine = {p: h for p, h in heads.items() if (h.candidate_version, h.live_version) in {pair, ("", "")}}
    good = [path for path, head in mine.items() if not head.void]
    if len(good) < MIN_FOR_PROCESSES:
        episodes = [compared(path) for path in good]
    else:
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
            episodes = list(pool.map(compared, good, chunksize=4))
    void = [head for head in mine.values() if head.void]
    return ComparedEpisodes(newest, episodes, void, others=len(heads) - len(mine))


def compared(path: Path) -> ComparedEpisode:
    """One episode through both models' analyses."""
    head, pairs = episode.read(path)
    live, candidate = outcomes(head, pairs)
    mine, theirs = Counter(live.counts), Counter(candidate.counts)
    windows = {
        key: PairCounts(mine[key], theirs[key], min(mine[key], theirs[key])) for key in {*mine, *theirs}
    }
    events, alone = pair_events(live.events, candidate.events, TOGETHER_S)
    names = (head.live_classes, head.candidate_classes)
    min_score = float(head.options["min_score"])
    frames = [pair_boxes(pair.live, pair.candidate, names, min_score) for pair in pairs]
    both = sum(item.same.shape[1] for item in frames)
    shared = both + sum(item.renamed.shape[1] for item in frames)
    return ComparedEpisode(
        path=path,
        head=head,
        windows=windows,
        events=events,
        differing=[("candidate" if side else "live", event) for side, event in alone],
        boxes=PairCounts(
            shared + sum(len(item.live_only) for item in frames),
            shared + sum(len(item.candidate_only) for item in frames),
            both,
        ),
        iou=float(sum(item.iou.sum() for item in frames)),
        scores=(live.scores, candidate.scores),
    )


def outcomes(head: episode.EpisodeHead, pairs: Sequence[episode.PairedFrame]) -> tuple[Outcome, Outcome]:
    """What both models would have reported; ShadowError: the episode's options are not those of a camera."""
    options = head.options
    try:
        shaping = AnalysisOptions(
            camera=head.camera,
            tracker=TrackerOptions(
                min_score=float(options["min_score"]),
                # An episode that was kept before there was this option has none.
                dedupe_iou=float(options.get("second_box_overlap", TrackerOptions().dedupe_iou)),
                confirm_s=float(options["confirm_s"]),
                max_lost_s=float(options["lost_s"]),
            ),
            max_gap_s=float(options["blind_s"]),
            window_s=int(options["window_s"]),
            classes=options["classes"],
            lines={name: Line.model_validate(value) for name, value in options["lines"].items()},
            zones={name: Zone.model_validate(value) for name, value in options["zones"].items()},
        )
        live, candidate = CameraAnalysis(shaping), CameraAnalysis(shaping)
        live.use_model(ModelInfo("", head.live_version, head.live_classes, 0, 0, "", 0.0))
        candidate.use_model(ModelInfo("", head.candidate_version, head.candidate_classes, 0, 0, "", 0.0))
    except (KeyError, TypeError, ValueError) as error:
        raise ShadowError(f"camera {head.camera!r}, options of an episode: {error!r}") from error
    return (
        _run(live, ((pair.capture_time, pair.live) for pair in pairs)),
        _run(candidate, ((pair.capture_time, pair.candidate) for pair in pairs)),
    )


def _run(analysis: CameraAnalysis, frames: Iterable[tuple[float, Detections]]) -> Outcome:
    """Take every frame, by time. An episode is cut out of a stream: visits stay open at its end."""
    scores = np.zeros(SCORE_BINS, np.int64)
    for capture_time, detections in frames:
        analysis.observe(frame_at(capture_time), detections)
        scores += np.histogram(detections.scores, SCORE_BINS, (0, 1))[0]
    events = [result for result in analysis.take_results() if isinstance(result, Event)]
    rows, _ = analysis.rows()
    return Outcome(
        {(row.window_start, row.item_class): row.count for row in rows if row.count},
        tuple(sorted(events, key=lambda event: (event.event_time, event.place, event.kind))),
        tuple(scores.tolist()),
    )
