"""From truth and evidence to figures, their thresholds, and the scoreboard as text: pure functions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from sightline.simulation.scenes.truth import CLASSES, inside
from sightline.simulation.selftest.box_scores import identity, moments, pairs, precision
from sightline.simulation.selftest.evidence import (
    LOST,
    EventLatency,
    Evidence,
    Matched,
    claims,
    latencies_s,
    match,
)
from sightline.simulation.selftest.ground_truth import SAMPLES_FPS, GroundTruth, Happening

#: The first and last seconds are played but not judged: tracks begin, and events become certain.
LEAD_S, TAIL_S = 3.0, 3.0
#: Actors seen for at least this long must be counted; those seen for less may be.
MUST_S = 1.5
NOT_MEASURED = {"speed_error": "no speed in Sightline yet", "plates": "no plates in Sightline yet"}
RATES = ("precision", "recall", "wrong", "bias")  # of claims, as figures
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
    """One camera's figures, ready to be added up."""

    name: str
    crossings: dict[str, Matched]  # by line; with the class right, and whatever the class
    crossings_any: dict[str, Matched]
    visits: dict[str, Matched]  # entries and exits by zone, with the class right
    counts: dict[str, Count]  # by class
    occupancy_errors: Sequence[float]  # signed, one for each second and zone
    dwell_errors_s: Sequence[float]  # claimed minus true, for visits of which both ends were found
    tracked_s: Sequence[float]  # scene to tracks
    events_s: Mapping[str, Sequence[EventLatency]]  # by kind
    frames: int  # tracked; sent; taken but not tracked
    due_frames: int
    dropped_frames: int
    coverage: float  # share of the length that was watched, by ``source_windows``

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "crossings": {name: m.record() for name, m in self.crossings.items()},
            "crossings_any_class": {name: m.record() for name, m in self.crossings_any.items()},
            "zones": {name: m.record() for name, m in self.visits.items()},
            "counts": {name: asdict(count) | {"error": count.error} for name, count in self.counts.items()},
            "occupancy_mae": _mean_abs(self.occupancy_errors),
            "dwell_error_s": _mean_abs(self.dwell_errors_s),
            "frames": self.frames,
            "due_frames": self.due_frames,
            "dropped_frames": self.dropped_frames,
            "coverage": round(self.coverage, 4),
        }


def judge_camera(name: str, truth: GroundTruth, evidence: Evidence) -> CameraFigures:
    """One camera's own figures."""
    span_s = LEAD_S, truth.length_s - TAIL_S
    claimed = claims(evidence)

    def by_place(names: Iterable[str], whats: Sequence[str], *, by_class: bool = True) -> dict[str, Matched]:
        def at(place: str, happenings: Iterable[Happening]) -> list[Happening]:
            return [h for h in happenings if h.place == place and h.what in whats]

        return {p: match(at(p, truth.happenings), at(p, claimed), span_s, by_class=by_class) for p in names}

    lines = [line.name for line in truth.places.lines]
    visits = by_place([zone.name for zone in truth.places.zones], VISITS)
    tracked_s, events_s = latencies_s(evidence)
    return CameraFigures(
        name=name,
        crossings=by_place(lines, CROSSINGS),
        crossings_any=by_place(lines, CROSSINGS, by_class=False),
        visits=visits,
        counts=_counts(truth, evidence.counts),
        occupancy_errors=_occupancy_errors(truth, claimed),
        dwell_errors_s=_dwell_errors(visits),
        tracked_s=tracked_s,
        events_s=events_s,
        frames=len(evidence.frames),
        due_frames=round(truth.length_s * evidence.fps),
        dropped_frames=evidence.dropped_frames,
        coverage=min(1.0, evidence.watched_s / truth.length_s),
    )


def _counts(truth: GroundTruth, counted: Mapping[str, int]) -> dict[str, Count]:
    """Counts of ``count_windows`` beside the actors that could be seen, by class."""
    rows = [row for s in truth.samples for row in zip(s.ids, s.kinds, s.ignored, strict=True)]
    kind_of = {number: kind for number, kind, _ in rows}
    seen = Counter(number for number, _, ignored in rows if not ignored)  # samples that show each actor
    may = Counter(kind_of.values())
    must = Counter(kind_of[i] for i, samples in seen.items() if samples >= MUST_S * SAMPLES_FPS)
    counts = {name: Count(counted.get(name, 0), must[i], may[i]) for i, name in enumerate(CLASSES)}
    return {name: count for name, count in counts.items() if count.counted or count.may}


def _occupancy_errors(truth: GroundTruth, claimed: Sequence[Happening]) -> list[float]:
    """Claimed minus true number in each zone, once a second; hidden actors in the picture count too."""
    errors = []
    for zone in truth.places.zones:
        kinds = [CLASSES.index(kind) for kind in zone.kinds]
        here = [h for h in claimed if h.place == zone.name and h.what in VISITS]  # no lines
        moves = [(h.time_s, 1 if h.what == "enter" else -1) for h in here]
        for sample in truth.samples[:: round(SAMPLES_FPS)]:
            if LEAD_S <= sample.time_s <= truth.length_s - TAIL_S:
                there = sum(change for time_s, change in moves if time_s <= sample.time_s)
                places = sample.xy[np.isin(sample.kinds, kinds) & sample.standing]
                errors.append(float(there - sum(inside(zone.points, float(x), float(y)) for x, y in places)))
    return errors


def _dwell_errors(visits: Mapping[str, Matched]) -> list[float]:
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
    """All cameras together."""

    figures: dict[str, float | None]  # the numbers that thresholds are about; None: not judged
    unjudged: tuple[str, ...]  # names of figures that are None although the truth had something to judge
    cameras: tuple[CameraFigures, ...]  # each camera's own figures
    ap50: dict[str, float]  # average precision at IoU 0.5 by class
    latencies: dict[str, dict[str, float | None]]  # by kind of event: their number, and :data:`LATENCIES`

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "figures": self.figures,
            "unjudged": list(self.unjudged),
            "ap50": self.ap50,
            "latencies": self.latencies,
            "cameras": {camera.name: camera.record() for camera in self.cameras},
            "not_measured": NOT_MEASURED,
        }


def judge(cameras: Sequence[tuple[str, GroundTruth, Evidence]]) -> Scoreboard:
    """The scoreboard of cameras that ran together."""
    each = tuple(judge_camera(*camera) for camera in cameras)
    identities = identity([moments(truth.samples, evidence.frames) for _, truth, evidence in cameras])
    boxes = precision([list(pairs(truth.samples, evidence.frames)) for _, truth, evidence in cameras])
    crossings = sum((m for c in each for m in c.crossings.values()), Matched())
    any_class = sum((m for c in each for m in c.crossings_any.values()), Matched())
    visits = sum((m for c in each for m in c.visits.values()), Matched())
    counts = [count for c in each for count in c.counts.values()]
    must, errors = sum(count.must for count in counts), sum(abs(count.error) for count in counts)
    stays = 0  # true visits with both ends inside the judged span
    for matched in (m for c in each for m in c.visits.values()):
        true = [*(t for t, _ in matched.pairs), *matched.missed]
        stays += len({t.who for t in true if t.what == "enter"} & {t.who for t in true if t.what == "leave"})
    zones = sum(len(truth.places.zones) for _, truth, _ in cameras)
    seen = sum(int((~sample.ignored).sum()) for _, truth, _ in cameras for sample in truth.samples)
    tracked_s = [s for c in each for s in c.tracked_s]
    by_kind = {kind: [s for c in each for s in c.events_s.get(kind, ())] for kind in _kinds(each)}
    row_s = [e.certain_s + e.row_s for kind, events_s in by_kind.items() if kind != LOST for e in events_s]
    due = sum(c.due_frames for c in each)
    events = crossings.true + visits.true
    # Figure -> its value, and how much there was to judge.
    judged: dict[str, tuple[float | None, float]] = {
        **{f"crossing_{name}": (getattr(crossings, name), crossings.true) for name in RATES},
        **{f"crossing_any_class_{name}": (getattr(any_class, name), any_class.true) for name in RATES[:3]},
        **{f"zone_{name}": (getattr(visits, name), visits.true) for name in RATES[:2]},
        "count_error": (errors / must if must else None, errors),
        "occupancy_mae": (_mean_abs(e for c in each for e in c.occupancy_errors), zones),
        "dwell_error_s": (_mean_abs(e for c in each for e in c.dwell_errors_s), stays),
        "idf1": (identities.idf1 if identities else None, seen),
        "hota": (identities.hota if identities else None, seen),
        "map50": (boxes.map50 if boxes else None, seen),
        "map50_95": (boxes.map50_95 if boxes else None, seen),
        "tracked_p50_s": (_quantile(tracked_s, 0.5), due),
        "tracked_p99_s": (_quantile(tracked_s, 0.99), due),
        "row_p50_s": (_quantile(row_s, 0.5), events),
        "row_p99_s": (_quantile(row_s, 0.99), events),
        "frames_lost": (max(0.0, 1 - sum(c.frames for c in each) / due) if due else None, due),
        "coverage": (min((c.coverage for c in each), default=None), due),
    }
    return Scoreboard(
        figures={name: value for name, (value, _) in judged.items()},
        unjudged=tuple(name for name, (value, there) in judged.items() if value is None and there),
        cameras=each,
        ap50=boxes.ap50 if boxes else {},
        latencies={kind: _latencies(events_s) for kind, events_s in by_kind.items()},
    )


#: Of each kind of event: until it was certain; from then until its row was made, and its alert received.
LATENCIES = ("certain_p50_s", "certain_p99_s", "row_p50_s", "row_p99_s", "told_p50_s", "told_p99_s")


def _kinds(cameras: Iterable[CameraFigures]) -> list[str]:
    return sorted({kind for camera in cameras for kind in camera.events_s})


def _latencies(events_s: Sequence[EventLatency]) -> dict[str, float | None]:
    columns = [e.certain_s for e in events_s], [e.row_s for e in events_s], [e.told_s for e in events_s]
    known = [[value for value in column if value is not None] for column in columns]
    quantiles = [_quantile(column, share) for column in known for share in (0.5, 0.99)]
    return {"number": len(events_s), **dict(zip(LATENCIES, quantiles, strict=True))}


def _mean_abs(values: Iterable[float]) -> float | None:
    sizes = [abs(value) for value in values]
    return float(np.mean(sizes)) if sizes else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None


class Threshold(NamedTuple):
    """A bound that a figure has to keep."""

    bound: float
    side: Literal["min", "max"]

    def kept_by(self, value: float) -> bool:
        """Whether a value is on the right side of the bound."""
        return value >= self.bound if self.side == "min" else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.side == 'min' else '<='} {self.bound:g}"


#: Every figure: its title, its format, and its threshold; None: it is only shown.
FIGURES: dict[str, tuple[str, str, Threshold | None]] = {
    "crossing_recall": ("crossings found (class right, within 1 s)", "{:.1%}", Threshold(0.90, "min")),
    "crossing_precision": ("crossings that are true", "{:.1%}", Threshold(0.90, "min")),
    "crossing_bias": ("crossings: signed bias", "{:+.1%}", None),
    "crossing_wrong": ("crossings missed or extra", "{:.0f}", None),
    "crossing_any_class_recall": ("crossings found, whatever the class", "{:.1%}", Threshold(0.95, "min")),
    "crossing_any_class_precision": ("crossings that are true, whatever the class", "{:.1%}",
                                     Threshold(0.95, "min")),
    "crossing_any_class_wrong": ("crossings missed or extra, whatever the class", "{:.0f}", None),
    "count_error": ("distinct objects: error of the counts", "{:.1%}", Threshold(0.35, "max")),
    "zone_recall": ("zone entries and exits found (within 1 s)", "{:.1%}", Threshold(0.60, "min")),
    "zone_precision": ("zone entries and exits that are true", "{:.1%}", Threshold(0.60, "min")),
    "occupancy_mae": ("occupancy: mean error, people", "{:.2f}", Threshold(1.0, "max")),
    "dwell_error_s": ("dwell time: mean error, s", "{:.2f}", Threshold(2.0, "max")),
    "idf1": ("IDF1", "{:.3f}", Threshold(0.60, "min")),
    "hota": ("HOTA", "{:.3f}", Threshold(0.50, "min")),
    "map50": ("mAP at IoU 0.5", "{:.3f}", Threshold(0.70, "min")),
    "map50_95": ("mAP at IoU 0.5 to 0.95", "{:.3f}", None),
    "tracked_p50_s": ("scene to tracks, median, s", "{:.2f}", None),
    "tracked_p99_s": ("scene to tracks, 99 %, s", "{:.2f}", None),
    "row_p50_s": ("scene to row, median, s (lost exits apart)", "{:.2f}", Threshold(2.0, "max")),
    "row_p99_s": ("scene to row, 99 %, s (lost exits apart)", "{:.2f}", Threshold(4.0, "max")),
    "frames_lost": ("frames sent but not tracked", "{:.1%}", Threshold(0.10, "max")),
    "coverage": ("coverage, the least of the cameras", "{:.1%}", Threshold(0.85, "min")),
}  # fmt: skip


def thresholds(changes: Iterable[str] = ()) -> dict[str, Threshold]:
    """The bounds after ``figure=bound``, or ``figure=`` for none; ``ValueError`` for what is neither."""
    bounds = {name: bound for name, (_, _, bound) in FIGURES.items() if bound is not None}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in FIGURES:
            raise ValueError(f"{name!r} is not a figure; known are {', '.join(FIGURES)}")
        if not text:
            bounds.pop(name, None)
            continue
        old = FIGURES[name][2]
        bounds[name] = Threshold(float(text), old.side if old else "min" if name.startswith("map") else "max")
    return bounds


def failures(scoreboard: Scoreboard, bounds: Mapping[str, Threshold]) -> list[str]:
    """The figures that miss their bound, and those not judged though there was something to judge."""
    return [
        name
        for name, bound in bounds.items()
        if name in scoreboard.unjudged
        or ((value := scoreboard.figures[name]) is not None and not bound.kept_by(value))
    ]


def table(scoreboard: Scoreboard, bounds: Mapping[str, Threshold]) -> str:
    """Everything at a glance: the figures, then the cameras."""
    lines = [f"{'':2}{'figure':48} {'value':>9}   wanted"]
    failed = failures(scoreboard, bounds)
    for name, (title, form, _) in FIGURES.items():
        value = scoreboard.figures[name]
        text = "-" if value is None else form.format(value)
        mark = "✗" if name in failed else " " if name not in bounds or value is None else "✓"
        note = "could not be judged" if name in scoreboard.unjudged else ""
        lines.append(f"{mark} {title:48} {text:>9}   {bounds.get(name, '')}  {note}".rstrip())
    lines += [f"  {key.replace('_', ' '):48} {'-':>9}   {why}" for key, why in NOT_MEASURED.items()]
    if scoreboard.ap50:
        each = "  ".join(f"{name} {value:.2f}" for name, value in scoreboard.ap50.items())
        lines.append(f"  {'average precision at IoU 0.5':48} {each}")
    if scoreboard.latencies:
        heads = " ".join(f"{name.replace('_', ' '):>14}" for name in ("number", *LATENCIES))
        lines += ["", f"  {'latency of events':18} {heads}"]
    for kind, of in scoreboard.latencies.items():
        values = [of[name] for name in LATENCIES]
        shown = [f"{of['number']}", *("-" if value is None else f"{value:.2f}" for value in values)]
        lines.append(f"  {kind:18} {' '.join(f'{text:>14}' for text in shown)}")
    heads = f"{'true':>5} {'claimed':>7} {'right':>6} {'missed':>6} {'extra':>6} {'hidden':>6}"
    lines += ["", f"  {'camera':26} {'place':14} {heads}"]
    for camera in scoreboard.cameras:
        places = [*camera.crossings.items(), *((f"zone {n}", m) for n, m in camera.visits.items())]
        for name, m in places:
            numbers = f"{m.true:5} {m.claimed:7} {len(m.pairs):6} {len(m.missed):6} {len(m.extra):6}"
            lines.append(f"  {camera.name:26.26} {name:14.14} {numbers} {len(m.hidden):6}")
        counts = ", ".join(f"{name} {c.counted} ({c.must} to {c.may})" for name, c in camera.counts.items())
        lines.append(f"  {camera.name:26.26} counted (right from, to): {counts}")
    return "\n".join(lines)
