"""Observers of frames that do I/O, each in a module or a folder of its own; :data:`FEATURES` lists them."""

from sightline.features import drift, shadow, track_log
from sightline.features.feature import Feature, FeatureContext

FEATURES = (
    Feature("track_log", track_log.make),
    Feature("drift", drift.make),
    Feature("shadow", shadow.make),
)

__all__ = ["FEATURES", "Feature", "FeatureContext"]
