"""Names in the rules of alerts that are of nothing: such a rule would be silent without a word."""

import difflib
from collections.abc import Collection, Iterator, Mapping

from sightline.config.alerts import AlertRule
from sightline.config.camera import Camera
from sightline.config.groups import SOURCE

MAX_NAMES = 10


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


def _unknown(key: str, names: Collection[str] | None, known: Collection[str]) -> Iterator[str]:
    listed = sorted(known)
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, listed, 1)
            more = ", …" if len(listed) > MAX_NAMES else ""
            there = f"there are: {', '.join(listed[:MAX_NAMES]) or 'none'}{more}"
            cure = f"do you mean {near[0]!r}?" if near else there
            yield f"alerts.rules.{key} names {name!r}, and nothing there makes events of it; {cure}"
