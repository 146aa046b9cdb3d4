"""From truth and evidence to figures: pure functions, no clock, no server, no database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.simulation.scenes.formats import CLASSES
from sightline.simulation.selftest.detection_score import precision
from sightline.simulation.selftest.event_matching import Matched, match
from sightline.simulation.selftest.evidence import Evidence, claims, latencies_s
from sightline.simulation.selftest.ground_truth import LOOKS_FPS, Happening, Known
from sightline.simulation.selftest.identity import identity
from sightline.simulation.selftest.truth_samples import moments, pairs

#: The first and last seconds are played but not judged: tracks begin, and events become certain.
LEAD_S, TAIL_S = 3.0, 3.0
#: Who can be seen for so long has to be counted; who can be seen at all, but shorter, may be.
MUST_S = 1.5
CROSSINGS, VISITS = ("forward", "backward"), ("enter", "leave")


@dataclass(frozen=True, slots=True)
class Count:
    """Distinct objects of one class: as counted, and between which numbers it is right."""

    counted: int
    must: int
    may: int

    @property
    def error(self) -> int:
        """How far off, signed; 0 anywhere between ``must`` and ``may``."""
        return min(0, self.counted - self.must) + max(0, self.counted - self.may)


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """One camera's figures, ready to be added up.

    Attributes:
        crossings, crossings_any: by line; with the class right, and whatever the class.
        visits: entries and exits by zone, with the class right.
        counts: by class.
        occupancy_errors: signed, one for each second and zone.
        dwell_errors_s: claimed minus true, for visits of which both ends were found.
        late_s: claimed minus true time of crossings that were found.
        tracked_s, row_s: scene to tracks, scene to row.
        frames, due_frames, dropped_frames: tracked; sent; taken but not tracked.
        coverage: share of the length that was watched, by ``source_windows``.
    """

    name: str
    crossings: dict[str, Matched]
    crossings_any: dict[str, Matched]
    visits: dict[str, Matched]
    counts: dict[str, Count]
    occupancy_errors: tuple[float, ...]
    dwell_errors_s: tuple[float, ...]
    late_s: tuple[float, ...]
    tracked_s: tuple[float, ...]
    row_s: tuple[float, ...]
    frames: int
    due_frames: int
    dropped_frames: int
    coverage: float


def judge_camera(name: str, known: Known, evidence: Evidence) -> CameraFigures:
    """Everything about one camera that needs no other."""
    span_s = LEAD_S, known.length_s - TAIL_S
    claimed = claims(evidence)
    lines = [line.name for line in known.places.lines]
    zones = [zone.name for zone in known.places.zones]
    crossings = _by_place(known, claimed, (lines, CROSSINGS), span_s, by_class=True)
    visits = _by_place(known, claimed, (zones, VISITS), span_s, by_class=True)
    tracked_s, row_s = latencies_s(evidence)
    return CameraFigures(
        name=name,
        crossings=crossings,
        crossings_any=_by_place(known, claimed, (lines, CROSSINGS), span_s, by_class=False),
        visits=visits,
        counts=count_errors(known, evidence.counts),
        occupancy_errors=tuple(_occupancy_errors(known, claimed, span_s)),
        dwell_errors_s=tuple(_dwell_errors(visits)),
        late_s=tuple(c.time_s - t.time_s for m in crossings.values() for t, c in m.pairs),
        tracked_s=tuple(tracked_s),
        row_s=tuple(row_s),
        frames=len(evidence.frames),
        due_frames=round(known.length_s * evidence.fps),
        dropped_frames=evidence.dropped_frames,
        coverage=min(1.0, evidence.watched_s / known.length_s),
    )


def _by_place(
    known: Known,
    claimed: Sequence[Happening],
    which: tuple[Sequence[str], tuple[str, str]],
    span_s: tuple[float, float],
    *,
    by_class: bool,
) -> dict[str, Matched]:
    names, whats = which
    found = {}
    for name in names:
        true = [h for h in known.happenings if h.place == name and h.what in whats]
        mine = [h for h in claimed if h.place == name and h.what in whats]
        found[name] = match(true, mine, span_s, by_class=by_class)
    return found


def count_errors(known: Known, counted: dict[str, int]) -> dict[str, Count]:
    """Counts of ``count_windows`` against who could be seen, by class."""
    seen: defaultdict[int, int] = defaultdict(int)  # looks at each actor
    kind_of: dict[int, int] = {}
    for look in known.looks:
        for number, kind, ignored in zip(look.ids, look.kinds, look.ignored, strict=True):
            kind_of[int(number)] = int(kind)
            seen[int(number)] += not ignored
    must = [kind_of[i] for i, looks in seen.items() if looks >= MUST_S * LOOKS_FPS]
    may = list(kind_of.values())
    found = {}
    for place, name in enumerate(CLASSES):
        count = Count(counted.get(name, 0), must.count(place), may.count(place))
        if count.counted or count.may:
            found[name] = count
    return found


def _occupancy_errors(known: Known, claimed: Sequence[Happening], span_s: tuple[float, float]) -> list[float]:
    """Claimed minus true number in each zone, once a second."""
    errors = []
    for zone in known.places.zones:
        here = [h for h in claimed if h.place == zone.name and h.what in VISITS]  # no lines
        moves = [(h.time_s, 1 if h.what == "enter" else -1) for h in here]
        for look in known.looks[:: round(LOOKS_FPS)]:
            if span_s[0] <= look.time_s <= span_s[1]:
                there = sum(change for time_s, change in moves if time_s <= look.time_s)
                errors.append(float(there - known.occupancy(zone.name, look)))
    return errors


def _dwell_errors(visits: dict[str, Matched]) -> list[float]:
    """For visits whose entry and exit were both found, and by one track: how much longer it claims."""
    errors = []
    for matched in visits.values():
        entered = {t.who: (t, c) for t, c in matched.pairs if t.what == "enter"}
        for true, claimed in matched.pairs:
            if true.what == "leave" and true.who in entered:
                entry, claimed_entry = entered[true.who]
                if claimed_entry.who == claimed.who and entry.time_s < true.time_s:
                    dwell_s = claimed.time_s - claimed_entry.time_s
                    errors.append(dwell_s - (true.time_s - entry.time_s))
    return errors


@dataclass(frozen=True, slots=True)
class Scoreboard:
    """All cameras together. ``figures`` are the numbers that thresholds are about; None: nothing to judge."""

    figures: dict[str, float | None]
    cameras: tuple[CameraFigures, ...]
    ap50: dict[str, float]

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "figures": self.figures,
            "ap50": self.ap50,
            "cameras": {camera.name: camera_record(camera) for camera in self.cameras},
            "not_measured": {
                "speed_error": "no speed in Sightline yet",
                "plates": "no plates in Sightline yet",
            },
        }


def judge(cameras: Sequence[tuple[str, Known, Evidence]]) -> Scoreboard:
    """The scoreboard of cameras that ran together."""
    each = tuple(judge_camera(*camera) for camera in cameras)
    seen = [list(pairs(known.looks, evidence.frames)) for _, known, evidence in cameras]
    kept = identity([moments(known.looks, evidence.frames) for _, known, evidence in cameras])
    found = precision(seen)
    crossings = _sum(c.crossings for c in each)
    any_class = _sum(c.crossings_any for c in each)
    visits = _sum(c.visits for c in each)
    counts = [count for c in each for count in c.counts.values()]
    must = sum(count.must for count in counts)
    figures: dict[str, float | None] = {
        "crossing_precision": crossings.precision,
        "crossing_recall": crossings.recall,
        "crossing_bias": crossings.bias,
        "crossing_wrong": float(len(crossings.missed) + len(crossings.extra)),
        "crossing_any_class_precision": any_class.precision,
        "crossing_any_class_recall": any_class.recall,
        "crossing_any_class_wrong": float(len(any_class.missed) + len(any_class.extra)),
        "count_error": sum(abs(count.error) for count in counts) / must if must else None,
        "zone_precision": visits.precision,
        "zone_recall": visits.recall,
        "occupancy_mae": _mean_abs(e for c in each for e in c.occupancy_errors),
        "dwell_error_s": _mean_abs(e for c in each for e in c.dwell_errors_s),
        "idf1": kept.idf1 if kept else None,
        "hota": kept.hota if kept else None,
        "map50": found.map50 if found else None,
        "map50_95": found.map50_95 if found else None,
        "tracked_p50_s": _quantile([s for c in each for s in c.tracked_s], 0.5),
        "tracked_p99_s": _quantile([s for c in each for s in c.tracked_s], 0.99),
        "row_p50_s": _quantile([s for c in each for s in c.row_s], 0.5),
        "row_p99_s": _quantile([s for c in each for s in c.row_s], 0.99),
        "frames_lost": _share_lost(each),
        "coverage": min((c.coverage for c in each), default=None),
    }
    return Scoreboard(figures, each, found.ap50 if found else {})


def _sum(of: Any) -> Matched:
    total = Matched()
    for places in of:
        for matched in places.values():
            total += matched
    return total


def _mean_abs(values: Any) -> float | None:
    found = [abs(value) for value in values]
    return float(np.mean(found)) if found else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None


def _share_lost(cameras: Sequence[CameraFigures]) -> float | None:
    due = sum(c.due_frames for c in cameras)
    return max(0.0, 1 - sum(c.frames for c in cameras) / due) if due else None


def camera_record(camera: CameraFigures) -> dict[str, Any]:
    """One camera, ready for JSON."""
    return {
        "crossings": {name: _matched_record(m) for name, m in camera.crossings.items()},
        "crossings_any_class": {name: _matched_record(m) for name, m in camera.crossings_any.items()},
        "zones": {name: _matched_record(m) for name, m in camera.visits.items()},
        "counts": {
            name: {"counted": c.counted, "must": c.must, "may": c.may, "error": c.error}
            for name, c in camera.counts.items()
        },
        "occupancy_mae": _mean_abs(camera.occupancy_errors),
        "dwell_error_s": _mean_abs(camera.dwell_errors_s),
        "frames": camera.frames,
        "due_frames": camera.due_frames,
        "dropped_frames": camera.dropped_frames,
        "coverage": round(camera.coverage, 4),
    }


def _matched_record(matched: Matched) -> dict[str, Any]:
    def told(happenings: Sequence[Happening]) -> list[str]:
        return [f"{h.time_s:.1f} s {h.item_class} {h.what}" for h in happenings]

    return {
        "true": matched.true,
        "claimed": matched.claimed,
        "right": len(matched.pairs),
        "missed": told(matched.missed),
        "extra": told(matched.extra),
        "hidden": len(matched.hidden),
    }
