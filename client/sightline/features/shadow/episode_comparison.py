"""The episodes of a folder, each through both models' trackers, rules and windows."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sightline.analysis.box_pairs import pair_boxes
from sightline.analysis.event_pairs import PairCounts, pair_events
from sightline.entities import Event, EventKind
from sightline.errors import ShadowError
from sightline.features.shadow import arms, episode

TOGETHER_S = 2.0  # events of two models closer than this, and equal in all else, are one event
MIN_FOR_PROCESSES = 20  # episodes; fewer are compared in this process

CameraEventKey = tuple[str, str, str, str, str]  # camera, kind, place, direction, class


@dataclass(frozen=True)
class ComparedEpisode:
    """One episode that says something.

    Attributes:
        path: its file.
        head: what it is.
        classes: distinct objects by class; ``both`` is what agrees window by window.
        windows: by window start and class, what would stand in the rows.
        events: by :data:`CameraEventKey`.
        differing: events that only one of both saw: ``live`` or ``candidate``, and the event.
        boxes: boxes that start tracks; ``both``: same class, overlap of a half or more.
        iou: overlaps of those that agree, added.
        scores: boxes by tenth of their score, live and candidate.
    """

    path: Path
    head: episode.EpisodeHead
    classes: dict[str, PairCounts]
    windows: dict[tuple[float, str], PairCounts]
    events: dict[CameraEventKey, PairCounts]
    differing: list[tuple[str, Event]]
    boxes: PairCounts
    iou: float
    scores: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class ComparedEpisodes:
    """The episodes of one candidate beside one live version."""

    model: str
    version: str
    live_model: str
    live_version: str
    good: list[ComparedEpisode]
    void: list[episode.EpisodeHead]
    others: int  # episodes of earlier versions: left out


def collect(folder: Path, model: str | None = None, camera: str | None = None) -> ComparedEpisodes:
    """Read and compare every episode of the newest pair of versions.

    Raises:
        ShadowError: there is none, there are several candidates, or a file is not one of ours.
    """
    paths = sorted(folder.glob(f"{camera or '*'}/*{episode.SUFFIX}"), key=lambda path: (path.name, path))
    heads = {path: episode.read_head(path) for path in paths}
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
    return ComparedEpisodes(
        model=newest.candidate_model,
        version=newest.candidate_version,
        live_model=newest.live_model,
        live_version=newest.live_version,
        good=_compare_all([path for path, head in mine.items() if not head.void]),
        void=[head for head in mine.values() if head.void],
        others=len(heads) - len(mine),
    )


def _compare_all(paths: Sequence[Path]) -> list[ComparedEpisode]:
    if len(paths) < MIN_FOR_PROCESSES:
        return [compared(path) for path in paths]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        return list(pool.map(compared, paths, chunksize=4))


def compared(path: Path) -> ComparedEpisode:
    """One episode through both arms."""
    head, pairs = episode.read(path)
    live, candidate = arms.outcomes(head, pairs)
    windows = _counts(live.counts, candidate.counts)
    classes: defaultdict[str, PairCounts] = defaultdict(PairCounts)
    for (_, name), counts in windows.items():
        classes[name] += counts
    by_key, alone = pair_events(live.events, candidate.events, TOGETHER_S)
    events = {(head.camera, *key): counts for key, counts in by_key.items()}
    differing = [("candidate" if side else "live", event) for side, event in alone]
    names = (head.live_classes, head.candidate_classes)
    min_score = float(head.options["min_score"])
    frames = [pair_boxes(pair.live, pair.candidate, names, min_score) for pair in pairs]
    both = sum(item.same.shape[1] for item in frames)
    renamed = sum(item.renamed.shape[1] for item in frames)
    boxes = PairCounts(
        both + renamed + sum(len(item.live_only) for item in frames),
        both + renamed + sum(len(item.candidate_only) for item in frames),
        both,
    )
    iou = float(sum(item.iou.sum() for item in frames))
    scores = (live.scores, candidate.scores)
    return ComparedEpisode(path, head, dict(classes), windows, events, differing, boxes, iou, scores)


def is_crossing(key: CameraEventKey) -> bool:
    """Whether the events are crossings of a line; else they are a zone's."""
    return key[1] == EventKind.CROSSING


def _counts(live: Any, candidate: Any) -> dict[Any, PairCounts]:
    mine, theirs = Counter(live), Counter(candidate)
    return {key: PairCounts(mine[key], theirs[key], min(mine[key], theirs[key])) for key in {*mine, *theirs}}
