"""What is to be covered in a frame that was analysed."""

from collections.abc import Collection

from sightline.analysis.observer import Observation
from sightline.config.groups import Blurred
from sightline.video.blur import why_not
from sightline.video.hidden_areas import EVERYTHING, NO_TRACK, HiddenRow, hidden_rows


def hidden_in(seen: Observation, blur: Collection[Blurred]) -> list[HiddenRow]:
    """What of ``blur`` is in the frame: everything, where its boxes cannot tell."""
    if why_not(blur, seen.model, seen.classes.names):
        return [(NO_TRACK, *EVERYTHING)]
    track_names, names = (
        [seen.classes.name(class_id) for class_id in boxes.class_ids.tolist()]
        for boxes in (seen.tracks, seen.detections)
    )
    return hidden_rows(blur, seen.tracks, track_names, seen.detections, names)
