"""What one look says of a camera's view: nothing wrong, moved, covered, or out of focus."""

from dataclasses import dataclass

from sightline.entities import EventKind
from sightline.features.view.grey_look import Look
from sightline.features.view.reference_views import FIRST_LOOKS, ReferenceView, ReferenceViews
from sightline.features.view.view_match import (
    MIN_CELLS,
    Agreement,
    Shift,
    alike_from_afar,
    find_shift,
    part_shifts,
)

COVERED, FROZEN = EventKind.VIEW_COVERED, EventKind.VIEW_FROZEN
DEFOCUSED, MOVED = EventKind.VIEW_DEFOCUSED, EventKind.VIEW_MOVED
#: Share of the view that is as it was, from which on the camera has certainly not been turned; and from which
#: on it has not, where no other shift fits better.
SURE, IN_PLACE = 0.6, 0.35
GONE, HALF_GONE = 0.6, 0.45  # share of it without detail: it is covered, if not out of focus
AFAR = 0.8  # correlation from afar, from which on what has no detail is only out of focus
BLURRED, SHARP = 0.6, 0.75  # of the usual sharpness: below the one it is out of focus, up to the other still
FOUND, CERTAIN = 0.25, 0.5  # correlation of a shift that is one, and of one that needs no other evidence
QUARTERS = 2  # of the view that are elsewhere: it was zoomed or rolled
SIXTEENTHS = 11  # of it that are where they were, though they look otherwise: it is the light


@dataclass(frozen=True, slots=True)
class ViewVerdict:
    """Of one look."""

    kind: EventKind | None  # what is wrong
    share: float = 1.0  # of the view that is as it was
    sharpness: float | None = None  # in shares of the usual one; None: not known in this light
    since: float | None = None  # capture time, where it is known to have lasted


def compare(look: Look, references: ReferenceViews, *, was_blurred: bool) -> ViewVerdict | None:
    """Compare a look with the reference views; None: nothing can be said.

    Args:
        look: the newest.
        references: of the camera.
        was_blurred: the look before was out of focus; it takes more not to be any more.
    """
    nearest: tuple[str, ReferenceView, Agreement] | None = None
    for light, view in references.nearest(look):
        agreed = view.agreement(look)
        if agreed.cells >= MIN_CELLS and (nearest is None or agreed.share > nearest[2].share):
            nearest = light, view, agreed
            if agreed.share >= SURE:
                break
    if nearest is None:
        return None
    light, view, agreed = nearest
    is_usual = light == look.light and view.looks >= FIRST_LOOKS  # other light says nothing of sharpness
    sharpness = view.sharpness(look, agreed) if is_usual else None
    where = None if agreed.share >= SURE else find_shift(view.grey, look.grey, view.known)
    if where is not None and _is_elsewhere(view, look, agreed, where):
        kind: EventKind | None = MOVED
    elif where is None or (where.is_none and (agreed.share >= IN_PLACE or _is_there(view, look))):
        if sharpness is None and was_blurred:
            return None
        least = SHARP if was_blurred else BLURRED
        kind = DEFOCUSED if sharpness is not None and sharpness < least else None
    elif agreed.lost >= GONE and alike_from_afar(view.grey, look.grey) >= AFAR:
        kind = DEFOCUSED
    else:
        kind = COVERED if agreed.lost >= HALF_GONE else MOVED
    return ViewVerdict(kind, agreed.share, sharpness)


def _is_elsewhere(view: ReferenceView, look: Look, agreed: Agreement, where: Shift) -> bool:
    """Whether what the reference shows is at another place in the look."""
    if where.is_none:
        quarters = part_shifts(view.grey, look.grey, view.known, 2)
        return sum(not shift.is_none for shift in quarters) >= QUARTERS
    return where.score >= (CERTAIN if agreed.lost >= GONE else FOUND)


def _is_there(view: ReferenceView, look: Look) -> bool:
    """Whether what the reference shows is where it was, however it looks now."""
    return sum(shift.is_none for shift in part_shifts(view.grey, look.grey, view.known, 4)) >= SIXTEENTHS
