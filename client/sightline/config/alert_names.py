"""Rules of alerts that would be silent without a word: names of nothing, and kinds that never happen."""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping

from sightline.config.alerts import AlertRule
from sightline.config.camera import Camera
from sightline.config.groups import SOURCE
from sightline.config.zones import Line, Zone
from sightline.entities import RULE_KINDS, VIEW_KINDS, EventKind, lasts

MAX_NAMES = 10
#: By kind, what makes such events, and how that is called.
_MAKERS: dict[EventKind, tuple[Callable[[Line | Zone], bool], str]] = {
    EventKind.CROSSING: (lambda place: isinstance(place, Line), "line"),
    EventKind.ENTER: (lambda place: isinstance(place, Zone), "zone"),
    EventKind.LEAVE: (lambda place: isinstance(place, Zone), "zone"),
    EventKind.LOITER: (lambda place: getattr(place, "loiter_s", None) is not None, "zone with loiter_s"),
    EventKind.OCCUPANCY: (
        lambda place: getattr(place, "max_occupancy", None) is not None,
        "zone with max_occupancy",
    ),
}
#: Troubles that have a place: a sink's name, a cause.
_PLACED = frozenset({EventKind.DELIVERY_FAILED, EventKind.UPLOAD_FAILED, EventKind.OVERLOAD})
_OF_CAMERAS = (
    RULE_KINDS | VIEW_KINDS | {EventKind.CAMERA_OFFLINE, EventKind.CLIPS_FAILED, EventKind.CLOCK_STEP}
)


def unknown_names(
    rules: Mapping[str, AlertRule], cameras: Mapping[str, Camera], broken: Collection[str]
) -> Iterator[str]:
    """A warning, with the nearest name, for each camera, place and class that nothing has.

    ``broken`` are the names of cameras with mistakes: what those have is not known.
    """
    for name, rule in rules.items():
        named = rule.cameras or (*cameras, *broken)
        yield from _unknown(f"{name}.cameras", rule.cameras, {*cameras, *broken, SOURCE})
        if not any(camera in broken for camera in named):
            seen = [cameras[camera] for camera in named if camera in cameras]
            places = {place for camera in seen for place in (*camera.rules.lines, *camera.rules.zones)}
            if _PLACED.isdisjoint(rule.kinds):
                yield from _unknown(f"{name}.places", rule.places, places)
            classes = [
                camera.count.classes if place.classes is None else place.classes
                for camera in seen
                for places_of in (camera.rules.lines, camera.rules.zones)
                for place_name, place in places_of.items()
                if rule.places is None or place_name in rule.places
            ]
            if None not in classes:  # else whatever the model knows
                yield from _unknown(
                    f"{name}.classes", rule.classes, {one for some in classes for one in some or ()}
                )


def idle_kinds(
    rules: Mapping[str, AlertRule], cameras: Mapping[str, Camera], broken: Collection[str]
) -> Iterator[str]:
    """A warning for each kind that a rule waits for in vain, and each limit that none of its kinds has."""
    for name, rule in rules.items():
        named = rule.cameras or (*cameras, *broken)
        known = None if {SOURCE, *broken} & {*named} else [cameras[one] for one in named if one in cameras]
        idle = {kind: why for kind in rule.kinds if (why := _why_idle(kind, rule, known))}
        if rule.places is not None or len(idle) == len({*rule.kinds}):
            for kind, why in idle.items():
                yield f"alerts.rules.{name}.kinds: nobody is ever told of {kind}: {why}"
        if rule.min_dwell_s and not any(
            lasts(kind, None) or kind is EventKind.OCCUPANCY for kind in rule.kinds
        ):
            yield (
                f"alerts.rules.{name}.min_dwell_s holds for none of its kinds ({', '.join(rule.kinds)}): "
                "they are moments, told at once; a zone's enter, or its loiter_s, is what lasts"
            )
        if rule.min_count and EventKind.OCCUPANCY not in rule.kinds:
            yield f"alerts.rules.{name}.min_count holds for occupancy alone, which is none of its kinds"


def _why_idle(kind: EventKind, rule: AlertRule, cameras: Collection[Camera] | None) -> str:
    """Why a kind never happens where a rule looks, and what to do; cameras: None, it is not known."""
    own = "or make a rule of its own"
    has_class = kind in _MAKERS and kind is not EventKind.OCCUPANCY
    if rule.classes is not None and not has_class:
        return f"it has no class; leave classes out, {own}"
    if kind in _MAKERS:
        makes, what = _MAKERS[kind]
        groups = [group for camera in cameras or () for group in (camera.rules.lines, camera.rules.zones)]
        there = [group[name] for group in groups for name in group if name in (rule.places or group)]
        is_unknown = not cameras or (rule.places is not None and not there)  # the latter is said already
        happens = is_unknown or any(map(makes, there))
        return "" if happens else f"no {what} is there; add one under rules, or leave {kind} out"
    if kind not in _OF_CAMERAS and rule.cameras is not None and "" not in rule.cameras:
        return f"it is of the program and of no camera; leave cameras out, {own}"
    if rule.places is not None and kind not in _PLACED:
        return f"it has no place; leave places out, {own}"
    return ""


def _unknown(key: str, names: Collection[str] | None, known: Collection[str]) -> Iterator[str]:
    listed = sorted(known)
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, listed, 1)
            more = ", …" if len(listed) > MAX_NAMES else ""
            there = f"there are: {', '.join(listed[:MAX_NAMES]) or 'none'}{more}"
            cure = f"do you mean {near[0]!r}?" if near else there
            yield f"alerts.rules.{key} names {name!r}, and nothing there makes events of it; {cure}"
