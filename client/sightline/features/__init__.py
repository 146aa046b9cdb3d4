"""Observers of frames that do I/O, each in a module or a folder of its own; :data:`FEATURES` lists them."""

from sightline.features import track_log, track_paths
from sightline.features.clips import clip_recorder
from sightline.features.drift import drift_watch
from sightline.features.feature import FeatureContext, MakeFeature
from sightline.features.live import annotated, live_observer
from sightline.features.shadow import shadow_observer
from sightline.features.view import view_guard

#: By name, which is also the key of a feature's part of a camera's resume state.
FEATURES: dict[str, MakeFeature] = {
    "track_log": track_log.make,
    "track_paths": track_paths.make,
    "drift": drift_watch.make,
    "view": view_guard.make,
    "shadow": shadow_observer.make,
    "clips": clip_recorder.make,
    "live": live_observer.make,
    "annotated": annotated.make,
}

__all__ = ["FEATURES", "FeatureContext"]
