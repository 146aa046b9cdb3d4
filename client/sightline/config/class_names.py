"""Class names that cameras use, compared with those of a model."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence

from sightline.config.alerts import AlertRule
from sightline.config.camera import Camera
from sightline.errors import ConfigError

MAX_LISTED = 10


def unknown_classes(camera: Camera, model: str, class_names: Sequence[str]) -> list[ConfigError]:
    """A problem, with the nearest name, for each class of a camera, its lines and zones that a model lacks.

    ``model`` is what the texts call it. A model that names no classes has whatever is asked for.
    """
    rules = camera.rules
    groups = {"count.classes": camera.count.classes}
    groups |= {f"rules.lines.{name}.classes": line.classes for name, line in rules.lines.items()}
    groups |= {f"rules.zones.{name}.classes": zone.classes for name, zone in rules.zones.items()}
    return [
        ConfigError(key, problem, camera=camera.name)
        for key, wanted in groups.items()
        for problem in _problems(wanted or (), model, class_names)
    ]


def unknown_alert_classes(
    rules: Mapping[str, AlertRule],
    every: Collection[str],
    cameras: Collection[str],
    model: str,
    class_names: Sequence[str],
) -> list[ConfigError]:
    """The same for the rules of alerts, of those about ``cameras`` alone, which use this model.

    ``every`` names all cameras, which a rule is about that names none.
    """
    return [
        ConfigError(f"alerts.rules.{name}.classes", problem)
        for name, rule in rules.items()
        if set(rule.cameras or every) <= set(cameras)
        for problem in _problems(rule.classes or (), model, class_names)
    ]


def _problems(wanted: Sequence[str], model: str, class_names: Sequence[str]) -> Iterator[str]:
    lowered = {name.lower(): name for name in class_names}
    listed = ", ".join(class_names[:MAX_LISTED]) + (", …" if len(class_names) > MAX_LISTED else "")
    for name in dict.fromkeys(wanted):
        if class_names and name not in class_names:
            near = difflib.get_close_matches(name.lower(), lowered, 1)
            cure = f"did you mean {lowered[near[0]]!r}?" if near else f"it has {listed}"
            yield f"{model} has no class {name!r}, so nothing is counted as one; {cure}"
