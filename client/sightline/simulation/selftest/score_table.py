"""The scoreboard as text, and the thresholds of its figures."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from sightline.simulation.selftest.figures import NOT_MEASURED, Scoreboard


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
    "row_p50_s": ("scene to database row, median, s", "{:.2f}", Threshold(3.0, "max")),
    "row_p99_s": ("scene to database row, 99 %, s", "{:.2f}", Threshold(8.0, "max")),
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
