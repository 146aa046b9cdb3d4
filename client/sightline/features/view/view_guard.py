"""When a camera no longer shows what it was set up to show, and where its places are if it was turned."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sightline.analysis.observer import Doubt, Observation, Observer
from sightline.analysis.saved import from_json
from sightline.base.redact import redact
from sightline.base.values import values_of
from sightline.config import Camera
from sightline.entities import CameraView, EventKind, Figure
from sightline.features.feature import FeatureContext
from sightline.features.view.grey_look import Look, Mask, take_look
from sightline.features.view.moved_places import moved_places, warp_between
from sightline.features.view.reference_views import (
    BLIND_LOOKS,
    FIRST_LOOKS,
    ReferenceView,
    ReferenceViews,
    file_of,
    hidden_by,
)
from sightline.features.view.stillness import Stillness
from sightline.features.view.view_match import MIN_CELLS
from sightline.features.view.view_verdict import (
    COVERED,
    DEFOCUSED,
    FROZEN,
    IN_PLACE,
    MOVED,
    SURE,
    ViewVerdict,
    compare,
)

log = logging.getLogger(__name__)

ENDS_S = 10.0  # a view that is right for so long is
MAX_GAP_S = 30.0  # between two looks, of which nothing can be said together
ADOPTED_S = 600.0  # a camera without lines and zones looks where it looks
WRITTEN_S = 600.0
PROPOSED_S = 60.0
SHIFTED = 0.005  # of the picture: another proposal
TEXTS = {
    COVERED: "the camera is covered, or sees nothing",
    FROZEN: "the picture is frozen",
    DEFOCUSED: "the picture is out of focus",
    MOVED: "the camera was turned; lines and zones that it has no longer fit",
}


@dataclass(slots=True)
class _State:
    """What a successor goes on from. Times are capture times."""

    told: EventKind | None = None  # what is wrong
    since: float = 0.0  # since when that, or that nothing is
    sure: float = 0.0  # when the view was seen to be right last
    stream: str = ""  # a digest of what the camera's pictures come from,
    places: str = ""  # and of where its lines and zones lie
    accepted: str | None = None  # view.accepted


class ViewGuard(Observer):
    """Looks at a camera's picture every few seconds. The main thread owns it.

    ``state`` is what :meth:`snapshot` gave.
    """

    name = "view"

    def __init__(self, camera: Camera, state: Mapping[str, Any] | None = None) -> None:
        self._camera = camera
        self._state = _restored(camera, state)
        self._references = ReferenceViews(camera.view.folder, camera.name, self._state.stream)
        self._learnt: ReferenceView | None = None  # of the looks so far, where there is no reference for them
        self._strays = 0  # of them that did not agree, one after the other
        if self._state.told and not self._references.views:
            self._state.told = None
        self._next = -np.inf
        self._look: Look | None = None  # the newest one
        self._seen: tuple[EventKind | None, float] = (None, 0.0)  # what is wrong in it, and since when
        self._bad: float | None = None  # since when it is not that nothing is wrong
        self._stillness = Stillness()
        self._verdict = ViewVerdict(None)
        self._written = -np.inf
        self._proposed = -np.inf
        self._proposal: Mapping[str, Any] | None = None
        self._row: CameraView | None = None  # as last handed out
        self._problem = ""
        self._accept()

    # -- what happens -----------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> Iterable[CameraView]:
        """Look, if it is time."""
        frame = seen.frame
        if frame.capture_time < self._next:
            return ()
        self._next = frame.capture_time + self._camera.view.every_s
        look = take_look(frame.picture, frame.capture_time)
        before, self._look = self._look, look
        if before is None or look.time - before.time > max(MAX_GAP_S, 3 * self._camera.view.every_s):
            before, self._bad, self._seen = None, None, (self._state.told, look.time)
        hidden = hidden_by(look.grey.shape, seen.detections, seen.tracks)
        usual, hold_s = self._references.usual_change(look), self._camera.view.hold_s
        since = self._stillness.frozen_since(before, look, frame.keys_seen, usual, hold_s)
        if since is not None:
            self._judge(ViewVerdict(FROZEN, since=since), look.time)
        elif not self._references.views:
            self._judge(ViewVerdict(None), look.time)
            self._learn(look, hidden)
        elif (verdict := compare(look, self._references, was_blurred=self._seen[0] is DEFOCUSED)) is not None:
            self._judge(verdict, look.time)
            if verdict.kind is MOVED:
                self._learn(look, hidden)
            elif verdict.kind is None and self._bad is None and self._state.told is None:
                self._learnt = None
                self._renew(look, hidden)
        self._follow_moved(look.time)
        return self._changed_row()

    def update(self, options: Camera) -> None:
        """Other lines and zones, or another ``view.accepted``: what is seen is as it should be."""
        self._camera = options
        self._accept()

    def end(self, time: float) -> Iterable[CameraView]:
        """Nothing: what follows is compared as well."""
        return ()

    @property
    def doubt(self) -> Doubt | None:
        """Whether what is seen now is what was to be watched."""
        kind = self._state.told or (self._seen[0] if self._bad is not None else None)
        if kind is None or (kind is MOVED and not self._has_places):
            return None
        return Doubt(self._state.sure, certain=self._state.told is not None)

    @property
    def _has_places(self) -> bool:
        return bool(self._camera.rules.lines or self._camera.rules.zones)

    # -- what comes out ---------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """What a successor goes on from; the reference views are in their file."""
        return values_of(self._state)

    def problem(self) -> str:
        """What is wrong."""
        text = TEXTS[self._state.told] if self._state.told else ""
        return "; ".join(filter(None, (text, self._problem)))

    def figures(self) -> Iterable[Figure]:
        """What is wrong, and how far the view agrees."""
        for kind, what in TEXTS.items():
            told, text = self._state.told is kind, f"1 while {what}."
            since = self._state.since if told else None
            yield Figure(kind.value, float(told), help=text, trouble=kind, since=since)
        yield Figure(
            "view_references", len(self._references.views), help="Kinds of light whose view is known."
        )
        if self._references.views:
            text = "Share of the view that is as it was, in the newest look."
            yield Figure("view_agreement", round(self._verdict.share, 3), help=text)
        if self._verdict.sharpness is not None:
            text = "Sharpness of the newest look, in shares of the usual one."
            yield Figure("view_sharpness", round(self._verdict.sharpness, 3), help=text)

    def close(self) -> None:
        """Keep the reference views."""
        if self._references.views:
            self._write()

    def _changed_row(self) -> Iterable[CameraView]:
        state = self._state
        told = state.told.value if state.told else "in_place" if self._references.views else "learning"
        views = {light: view.renewed for light, view in self._references.views.items()}
        fits = state.told is not MOVED or not self._has_places
        row = CameraView(self._camera.name, told, state.since, fits, views, self._proposal)
        newest, shown = max(views.values(), default=0.0), self._row
        if shown is not None:
            same = replace(shown, lights=views) == row and shown.lights.keys() == views.keys()
            if same and newest - max(shown.lights.values(), default=0.0) < WRITTEN_S:
                return ()
        self._row = row
        return (row,)

    # -- verdicts ---------------------------------------------------------------------------------------

    def _judge(self, verdict: ViewVerdict, time: float) -> None:
        """Take in a verdict: what lasts is told."""
        options, state = self._camera.view, self._state
        if verdict.kind not in (None, *options.kinds):
            verdict = replace(verdict, kind=None)
        self._verdict, kind = verdict, verdict.kind
        if kind is not self._seen[0]:
            self._seen = kind, time
        if kind is None:
            self._bad = None
            state.sure = time if state.told is None else state.sure
        elif self._bad is None:
            self._bad = time
        if kind is state.told:
            return
        begun = self._bad if self._bad is not None and state.told is None else self._seen[1]
        if verdict.since is not None and state.told is None:
            state.sure = begun = verdict.since
        if time - begun >= (ENDS_S if kind is None else options.hold_s):
            state.told, state.since = kind, begun
            self._proposal, self._proposed = None, -np.inf
            text = TEXTS[kind] if kind else "the view is as it was again"
            log.log(logging.WARNING if kind else logging.INFO, "camera %s: %s", self._camera.name, text)

    # -- reference views --------------------------------------------------------------------------------

    def _learn(self, look: Look, hidden: Mask) -> None:
        """Some looks that agree are a reference, or show what a camera that was turned sees."""
        learnt = self._learnt
        if learnt is None or learnt.grey.shape != look.grey.shape or self._strays >= 3:
            self._learnt, self._strays = ReferenceView.of(look, hidden), 0
            return
        agreed = learnt.agreement(look)
        if learnt.looks >= BLIND_LOOKS and (agreed.cells < MIN_CELLS or agreed.share < IN_PLACE):
            self._strays += 1
            return
        learnt.renew(look, hidden, self._stillness.change)
        self._strays = 0
        if learnt.looks >= FIRST_LOOKS and not self._references.views:
            self._references.views[look.light], self._learnt = learnt, None
            self._state.since = self._state.sure = look.time
            self._write()

    def _renew(self, look: Look, hidden: Mask) -> None:
        views = self._references.views
        view = views.get(look.light)
        if view is None or view.grey.shape != look.grey.shape:
            views[look.light] = ReferenceView.of(look, hidden)
        else:
            view.renew(look, hidden, self._stillness.change, slowly=self._verdict.share < SURE)
        if look.time - self._written >= WRITTEN_S:
            self._write()

    def _write(self) -> None:
        self._written = self._look.time if self._look else -np.inf
        try:
            self._references.write()
            self._problem = ""
        except OSError as error:
            if not self._problem:
                log.warning("camera %s: its reference view cannot be kept: %s", self._camera.name, error)
            self._problem = f"its reference view cannot be kept: {error.strerror}"

    def _accept(self) -> None:
        """Look whether somebody has said, with the options, that what is seen is what is to be seen."""
        state, options = self._state, self._camera.view
        places = _digest_of_places(self._camera)
        if options.accepted != state.accepted or (places != state.places and state.told is MOVED):
            log.info("camera %s: its view is learnt anew", self._camera.name)
            self._forget()
        state.places, state.accepted = places, options.accepted

    def _forget(self) -> None:
        """What is seen from now on is what is to be seen."""
        self._references.views.clear()
        self._learnt, self._bad, self._seen, self._proposal = None, None, (None, 0.0), None
        self._state.told = None
        if self._look is not None:
            self._state.since = self._look.time

    # -- a camera that was turned -----------------------------------------------------------------------

    def _follow_moved(self, time: float) -> None:
        """Propose where lines and zones are now; without any, the view is what it is."""
        state = self._state
        if state.told is not MOVED:
            return
        if not self._has_places:
            if time - state.since >= ADOPTED_S:
                self._forget()
            return
        learnt = self._learnt
        if learnt is None or learnt.looks < FIRST_LOOKS or time - self._proposed < PROPOSED_S:
            return
        self._proposed = time
        found = [
            warp_between(view, learnt)
            for view in self._references.views.values()
            if view.grey.shape == learnt.grey.shape
        ]
        warp, share = max(found, key=lambda one: one[1], default=(None, 0.0))
        if warp is None:
            return
        old = np.array(self._proposal["warp"]) if self._proposal else np.zeros((3, 3))
        corners = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
        if self._proposal is None or np.abs((warp - old) @ corners.T).max() > SHIFTED:
            proposal = moved_places(self._camera.name, self._camera.rules, warp)
            self._proposal = {**proposal, "warp": warp.round(6).tolist(), "agreement": round(share, 3)}


def make(context: FeatureContext) -> ViewGuard | None:
    """What a camera's ``view`` asks for; when it asks for nothing, no picture of it is kept."""
    camera = context.camera
    if camera.view.enabled:
        return ViewGuard(camera, context.state)
    try:
        file_of(camera.view.folder, camera.name).unlink(missing_ok=True)
    except OSError as error:
        log.error("camera %s: its reference view cannot be deleted: %s", camera.name, error)
    return None


def _restored(camera: Camera, saved: Mapping[str, Any] | None) -> _State:
    """The state to go on from, if it is of the same stream."""
    stream = _digest(redact(camera.source_url).replace("***@", ""))  # another password is the same stream
    if saved:
        try:
            state: _State = from_json(_State, saved)
        except ValueError as error:
            log.warning("camera %s: what is known of its view begins anew: %s", camera.name, error)
        else:
            if state.stream == stream:
                return state
    return _State(stream=stream, places=_digest_of_places(camera), accepted=camera.view.accepted)


def _digest_of_places(camera: Camera) -> str:
    """Of where lines and zones lie; what they are for may change."""
    places = (camera.rules.lines, camera.rules.zones)
    return _digest(repr([{name: place.points for name, place in group.items()} for group in places]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
