"""What Home Assistant is told of a camera by MQTT discovery: a device with sensors and switches."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

_ONLINE = "{{ 'online' if value_json.state == 'online' else 'offline' }}"


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """The topics of one camera."""

    prefix: str
    camera: str  # empty: the program itself

    @property
    def base(self) -> str:
        """What all of them begin with; no camera's name begins with an underscore."""
        return f"{self.prefix}/{self.camera or '_program'}"

    def occupancy(self, zone: str) -> str:
        """Of the number of tracks in a zone."""
        return f"{self.base}/occupancy/{_LEVEL_ENDS.sub(lambda found: quote(found[0], safe=''), zone)}"


_LEVEL_ENDS = re.compile(r"[/+#%]")  # cannot stand in a level of a topic


def availability_topic(prefix: str) -> str:
    """Of whether the program is connected: ``online`` or ``offline``."""
    return f"{prefix}/_program/availability"


def discovery(
    topics: CameraTopics, zones: Iterable[str], classes: Iterable[str], *, commands: bool
) -> dict[str, dict[str, Any]]:
    """Configurations of a camera's entities, by the end of their topics.

    Args:
        topics: the camera's.
        zones: names of its zones.
        classes: that it counts.
        commands: switches are obeyed.
    """
    base, program = topics.base, {"topic": availability_topic(topics.prefix)}
    running = {"topic": f"{base}/status", "value_template": _ONLINE}
    device = {
        "identifiers": [f"{topics.prefix}_{topics.camera}"],
        "name": topics.camera,
        "manufacturer": "Sightline",
    }
    entities: dict[tuple[str, str], dict[str, Any]] = {
        ("binary_sensor", "connection"): {
            "name": "connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": f"{base}/status",
            "value_template": "{{ 'ON' if value_json.state == 'online' else 'OFF' }}",
            "availability": [program],
        }
    }
    for zone in zones:
        entities["binary_sensor", f"occupancy {zone}"] = {
            "name": zone,
            "device_class": "occupancy",
            "state_topic": topics.occupancy(zone),
            "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}",
            "availability": [program, running],
        }
    for item_class in classes:
        entities["sensor", f"count {item_class}"] = {
            "name": f"{item_class} count",
            "icon": "mdi:counter",
            "state_class": "measurement",
            "state_topic": f"{base}/counts",
            "value_template": f"{{{{ value_json.counts[{json.dumps(item_class)}] | default(0) }}}}",
            "availability": [program, running],
        }
    for switch in ("enabled", "mute") if commands else ():
        entities["switch", switch] = {
            "name": switch,
            "entity_category": "config",
            "state_topic": f"{base}/{switch}",
            "command_topic": f"{base}/{switch}/set",
            "availability": [program],
        }
    origin = {"name": "Sightline"}
    node = _identifier(f"{topics.prefix}_{topics.camera}")
    return {
        f"{component}/{node}/{_identifier(name)}/config": {
            **entity,
            "unique_id": f"{node}_{_identifier(name)}",
            "availability_mode": "all",
            "device": device,
            "origin": origin,
        }
        for (component, name), entity in entities.items()
    }


def _identifier(name: str) -> str:
    """A name in the characters that Home Assistant allows, kept apart from others."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
