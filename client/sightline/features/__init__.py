"""Observers of frames that do I/O, each in a module or a folder of its own; :data:`FEATURES` lists them."""

from sightline.features import drift, shadow, track_log
from sightline.features.feature import Feature, FeatureContext

FEATURES = (
    Feature("track_log", track_log.make, lambda camera: camera.track_log),
    Feature("drift", drift.make, lambda camera: camera.drift),
    Feature("shadow", shadow.make, lambda camera: (camera.shadow, camera.drift)),
)

__all__ = ["FEATURES", "Feature", "FeatureContext"]
