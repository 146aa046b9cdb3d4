"""ByteTrack in seconds: who is who from one frame to the next, at any frame rate.

Each frame: let time pass, match the sure boxes by overlap, then the weak boxes to tracks that are left
(they keep a track, they never start or confirm one), then what is still left by how far an object can
have moved; correct the tracks, start new ones, end those not seen for long.

Time in here is *watched* time. A gap between frames much longer than usual (the stream or the detector
was away) counts as one usual frame: not having looked is no evidence that somebody has left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.tracking.assignment import assign
from sightline.analysis.tracking.kalman import F64, BoxFilter, MotionModel, from_xyxy, to_xyxy
from sightline.base.geometry import iou_matrix
from sightline.entities import F32, I32, Detections, Tracks

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
Pairs = tuple[Index, Index]  # rows of tracks and rows of detections, same length

STATE_VERSION = 1
EPSILON_S = 1e-3  # clocks count in ticks: 0.4999 s is half a second
MAX_TRACKS = 1000  # the longest unseen go first beyond this
STEPS_KEPT = 9  # the usual frame interval is the median of as many
SHORTEST_STEP_S = 1 / 30
LONGEST_FIRST_STEP_S = 1.0  # before anything is known of the rate
LONGEST_COAST_S = 1.0  # of movement over a gap
GAP_STEPS = 3.0  # a step longer than this many usual ones is a gap
HELD_SHARE = 0.7  # boxes, weak ones too, in this share of the time keep a track for as long as they come
AT_EDGE = 0.01  # of the picture's side: a box that near to its edge is cut by it
CUT_VOTE = 0.01  # of a vote: what is cut decides only where the whole was hardly ever seen
OUT_OF_PICTURE = 0.1  # an unseen track ends when less than this share of it is in the picture


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """How tracks start, hold and end. Scores are 0..1, times seconds."""

    min_score: float = 0.25  # a track starts, and is confirmed, only by boxes with at least this score
    low_score: float = 0.1  # weaker boxes than this are ignored
    confirm_s: float = 0.5  # from first to latest sure box
    confirm_share: float = 0.4  # of that time lately, in which it must have had sure boxes
    lost_s: float = 3.0  # watched time without a box after which a track has ended
    blind_s: float = 10.0  # a gap longer than this ends every track
    min_overlap: float = 0.2  # IoU of a predicted and a sure box
    min_low_overlap: float = 0.5  # the same for a weak box
    max_deviation: float = 3.0  # second chance: standard deviations from the predicted place
    max_distance: float = 2.0  # second chance: object sizes from the predicted place
    max_side_ratio: float = 2.0  # second chance: how much wider or higher the box may be
    class_penalty: float = 0.4  # overlap that a class the track was never seen with costs
    second_box_overlap: float = (
        0.6  # a box that overlaps a surer one of its class by this much is a second one
    )
    other_second_box_overlap: float = 0.7  # the same for one of another class
    duplicate_overlap: float = 0.8  # a box that overlaps a tracked one by this much starts no track
    crowd_doubt: float = (
        0.5  # a box over another starts a track as if it scored exp(-IoU² / this) times as much
    )
    motion: MotionModel = field(default_factory=MotionModel)


@dataclass(slots=True)
class _Book:
    """What is known of N tracks besides their motion; rows agree with the filter's."""

    ids: NDArray[np.int64]
    first_times: F64  # capture time of the first box
    born_s: F64  # the same on the watched clock
    seen_s: F64  # watched clock at the latest box
    sure: F64  # share of the time in which it had a sure box, the latest ``confirm_s`` counting most
    held: F64  # the same of any box
    firm_s: F64  # watched clock when the shares were last enough to believe in it
    confirmed: Mask
    votes: F64  # [N, K] scores given to each class of ``Tracker._class_ids``

    @classmethod
    def empty(cls) -> _Book:
        """Of no track."""
        made = {name: np.zeros(0) for name in cls.__slots__}
        return cls(
            **made | {"ids": np.zeros(0, np.int64), "confirmed": np.zeros(0, bool), "votes": np.zeros((0, 0))}
        )

    def keep(self, which: Mask) -> None:
        """Keep the tracks that ``which`` [N] marks."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[which])


class Tracker:
    """The tracks of one camera. Belongs to one thread."""

    def __init__(
        self, options: TrackerOptions, *, state: Mapping[str, Any] | None = None, skip_ids: int = 0
    ) -> None:
        """Begin, or go on from a :meth:`snapshot`.

        Args:
            options: how to track.
            state: where to go on.
            skip_ids: ids not to give again: the last of them may have been given after the snapshot.

        Raises:
            ValueError: ``state`` is not a snapshot that this version understands.
        """
        self.options = options
        self._filter = BoxFilter(options.motion)
        self._class_ids: list[int] = []  # classes met so far, in the order of the columns of votes
        self._next_id = 1
        self._time: float | None = None
        self._watched_s = 0.0
        self._step_s = 0.0  # of watched time, to this frame
        self._steps: deque[float] = deque(maxlen=STEPS_KEPT)
        self._book = _Book.empty()
        if state is not None:
            self._restore(state)
            self._next_id += skip_ids

    def update(self, detections: Detections, time: float) -> Tracks:
        """Track one frame.

        Args:
            detections: every box the detector gave, weak ones too.
            time: capture time, epoch seconds. The same time again adds no time; a time that goes back
                counts as one usual step.

        Returns:
            The tracks that have a box in this frame, by ascending id.
        """
        detections = detections.take(detections.scores >= self.options.low_score)
        detections = _without_twins(detections, self.options)
        self._pass_time(time)
        tracked, boxes = self._match(detections)
        self._correct(tracked, boxes, detections)
        started = self._startable(boxes, detections)
        self._start(started, detections, time)
        rows = np.concatenate([tracked, np.arange(len(self._filter) - len(started), len(self._filter))])
        found = self._tracks(rows, np.concatenate([boxes, started]), detections)
        self._end_lost()
        return found

    def end_all(self) -> None:
        """End every track: the picture is another one now, and its boxes are not comparable."""
        self._end(np.ones(len(self._filter), bool))

    # -- time ------------------------------------------------------------------------------------

    def _pass_time(self, time: float) -> None:
        step = 0.0 if self._time is None else time - self._time
        if step < 0:  # the clock was set back: one frame has passed, nobody knows how long it took
            step = self._usual_step()
        self._time = time
        if step > self.options.blind_s:
            self.end_all()
        if step > 0:
            self._steps.append(step if self._steps else min(step, LONGEST_FIRST_STEP_S))
        usual = self._usual_step()
        gap = step > GAP_STEPS * usual
        self._step_s = usual if gap else step
        self._watched_s += self._step_s
        # After a gap nobody is believed to have gone on for long: who stands is found where they stood.
        self._filter.predict(min(step, max(usual, LONGEST_COAST_S)) if gap else step)

    def _usual_step(self) -> float:
        if not self._steps:
            return SHORTEST_STEP_S
        return max(sorted(self._steps)[(len(self._steps) - 1) // 2], SHORTEST_STEP_S)

    # -- matching --------------------------------------------------------------------------------

    def _match(self, detections: Detections) -> Pairs:
        """Pairs of tracks and detections, each at most once."""
        tracks, boxes = np.arange(len(self._filter)), np.arange(len(detections))
        if not len(tracks) or not len(boxes):
            return tracks[:0], boxes[:0]
        options, sure = self.options, detections.scores >= self.options.min_score
        alike = iou_matrix(self._filter.xyxy().astype(np.float32), detections.xyxy)
        cost = 1 - alike + self._strangeness(detections.class_ids)
        first = _pair(cost, tracks, boxes[sure], 1 - options.min_overlap)
        left = _without(tracks, first[0])
        second = _pair(cost, left, boxes[~sure], 1 - options.min_low_overlap)
        left = _without(left, second[0])
        far = _without(boxes[sure], first[1])
        rows, columns = left[:0], far[:0]
        if len(left) and len(far):
            rows, columns = assign(self._distances(left, detections.take(far)), 1.0)
        return (
            np.concatenate([first[0], second[0], left[rows]]),
            np.concatenate([first[1], second[1], far[columns]]),
        )

    def _strangeness(self, class_ids: I32) -> F32:
        """What it costs a track to take a box of each class: float32 [N, len(class_ids)]."""
        columns = self._columns(class_ids)
        votes = self._book.votes[:, columns]
        total = self._book.votes.sum(axis=1, keepdims=True)
        cost: F32 = (self.options.class_penalty * (1 - votes / np.maximum(total, 1e-9))).astype(np.float32)
        return cost

    def _distances(self, rows: Index, detections: Detections) -> F64:
        """How improbable it is that tracks ``rows`` moved into boxes; 1 and more is out of reach."""
        options = self.options
        mean, boxes = self._filter.mean[rows], from_xyxy(detections.xyxy)
        sizes = self._filter.sizes(mean)[:, None, :2]
        spread = np.sqrt(self._filter.mean_var[rows, None, :2] + (sizes * options.motion.place_noise) ** 2)
        away = boxes[None, :, :2] - mean[:, None, :2]
        deviation = np.hypot(*np.moveaxis(away / spread, -1, 0)) / options.max_deviation
        distance = np.hypot(*np.moveaxis(away / sizes, -1, 0)) / options.max_distance
        sides = np.maximum(boxes[None, :, 2:], 1e-6) / mean[:, None, 2:]
        ratio = np.abs(np.log(sides)).max(axis=2) / np.log(options.max_side_ratio)
        cost: F64 = np.maximum(np.maximum(deviation, distance), ratio)
        return cost + self._strangeness(detections.class_ids)[rows]

    # -- what follows from a match ---------------------------------------------------------------

    def _correct(self, rows: Index, boxes: Index, detections: Detections) -> None:
        book, options = self._book, self.options
        scores = detections.scores[boxes]
        self._filter.update(rows, from_xyxy(detections.xyxy[boxes]))
        columns = self._columns(detections.class_ids[boxes])
        book.votes[rows, columns] += _votes(detections, boxes)
        book.seen_s[rows] = self._watched_s
        sure = scores >= options.min_score
        # So many seconds, not so many frames: at 30 fps a false box has six times as many chances as at 5.
        kept = math.exp(-self._step_s / max(options.confirm_s, EPSILON_S))
        book.sure *= kept
        book.sure[rows[sure]] += 1 - kept
        book.held *= kept
        book.held[rows] += 1 - kept
        enough = book.sure >= options.confirm_share
        book.firm_s[enough | (book.held >= HELD_SHARE)] = self._watched_s
        lasted = self._watched_s - book.born_s[rows] >= options.confirm_s - EPSILON_S
        book.confirmed[rows] |= lasted & sure & enough[rows]

    def _startable(self, matched: Index, detections: Detections) -> Index:
        """Sure boxes left over, best first, without those that are a second box of the same object."""
        free = detections.scores >= self.options.min_score
        free[matched] = False
        candidates = np.flatnonzero(free)
        if not len(candidates):
            return candidates
        candidates = candidates[np.argsort(-detections.scores[candidates], kind="stable")]
        others = np.concatenate([matched, candidates])
        overlap = iou_matrix(detections.xyxy[candidates], detections.xyxy[others])
        # As Soft-NMS (Bodla et al.): the more a weak box overlaps, the likelier it is a second one.
        left = detections.scores[candidates, None] * np.exp(-(overlap**2) / self.options.crowd_doubt)
        twin = (overlap >= self.options.duplicate_overlap) | (left < self.options.min_score)
        started: list[int] = []
        seen = np.zeros(len(others), bool)
        seen[: len(matched)] = True
        for place in range(len(candidates)):
            if not (twin[place] & seen).any():
                seen[len(matched) + place] = True
                started.append(place)
        return candidates[started]

    def _start(self, which: Index, detections: Detections, time: float) -> None:
        count, book = len(which), self._book
        if not count:
            return
        columns = self._columns(detections.class_ids[which])
        votes = np.zeros((count, len(self._class_ids)))
        votes[np.arange(count), columns] = _votes(detections, which)
        self._filter.add(from_xyxy(detections.xyxy[which]))
        now = np.full(count, self._watched_s)
        book.ids = np.concatenate([book.ids, self._next_id + np.arange(count)])
        book.first_times = np.concatenate([book.first_times, np.full(count, float(time))])
        book.born_s = np.concatenate([book.born_s, now])
        book.seen_s = np.concatenate([book.seen_s, now])
        book.sure = np.concatenate([book.sure, np.zeros(count)])
        book.held = np.concatenate([book.held, np.zeros(count)])
        book.firm_s = np.concatenate([book.firm_s, now])
        book.confirmed = np.concatenate([book.confirmed, np.full(count, self.options.confirm_s <= 0)])
        book.votes = np.concatenate([book.votes, votes])
        self._next_id += count

    def _end_lost(self) -> None:
        book = self._book
        unseen_s = self._watched_s - book.seen_s
        # Who was there for a second is not waited for longer than that.
        there_s = np.clip(book.firm_s - book.born_s, self._tentative_s(), self.options.lost_s)
        patience_s = np.where(book.confirmed, there_s, self._tentative_s())
        over = unseen_s > patience_s + EPSILON_S
        # Now and then a box of somebody else's comes near: that keeps nobody who is not there.
        over |= book.confirmed & (self._watched_s - book.firm_s > patience_s + EPSILON_S)
        over |= (unseen_s > 0) & (_share_in_picture(self._filter.xyxy()) < OUT_OF_PICTURE)
        if len(over) > MAX_TRACKS:
            over[np.argsort(unseen_s, kind="stable")[MAX_TRACKS:]] = True
        if over.any():
            self._end(over)

    def _tentative_s(self) -> float:
        """A track that is not confirmed may miss half the time it needs, and one frame at any rate."""
        return min(max(self.options.confirm_s / 2, 1.5 * self._usual_step()), self.options.lost_s)

    def _end(self, over: Mask) -> None:
        self._filter.keep(~over)
        self._book.keep(~over)

    def _columns(self, class_ids: I32) -> list[int]:
        """The columns of votes that belong to ``class_ids``; new classes get a new one."""
        known = self._class_ids
        wanted = class_ids.tolist()
        for new in sorted(set(wanted) - set(known)):
            known.append(new)
        missing = len(known) - self._book.votes.shape[1]
        if missing:
            self._book.votes = np.pad(self._book.votes, ((0, 0), (0, missing)))
        column_of = {class_id: column for column, class_id in enumerate(known)}
        return [column_of[class_id] for class_id in wanted]

    def _tracks(self, rows: Index, boxes: Index, detections: Detections) -> Tracks:
        if not len(rows):
            return Tracks.empty()
        order = np.argsort(self._book.ids[rows])
        rows, boxes = rows[order], boxes[order]
        book = self._book
        return Tracks(
            ids=book.ids[rows],
            xyxy=np.clip(to_xyxy(self._filter.mean[rows]), 0, 1).astype(np.float32),
            scores=detections.scores[boxes],
            class_ids=np.array(self._class_ids, np.int32)[book.votes[rows].argmax(axis=1)],
            first_times=book.first_times[rows],
            confirmed=book.confirmed[rows],
        )

    # -- state -----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Everything a successor needs to go on with the same ids; JSON-able."""
        book = self._book
        return {
            "version": STATE_VERSION,
            "next_id": self._next_id,
            "time": self._time,
            "step_s": round(self._usual_step(), 4) if self._steps else None,
            "class_ids": list(self._class_ids),
            "tracks": [
                {
                    "id": int(book.ids[row]),
                    "first_time": float(book.first_times[row]),
                    "age_s": round(float(self._watched_s - book.born_s[row]), 4),
                    "unseen_s": round(float(self._watched_s - book.seen_s[row]), 4),
                    "sure": round(float(book.sure[row]), 4),
                    "held": round(float(book.held[row]), 4),
                    "doubtful_s": round(float(self._watched_s - book.firm_s[row]), 4),
                    "confirmed": bool(book.confirmed[row]),
                    "box": [round(value, 5) for value in self._filter.mean[row].tolist()],
                    "velocity": [round(value, 5) for value in self._filter.velocity[row].tolist()],
                    "votes": [round(value, 2) for value in book.votes[row].tolist()],
                }
                for row in range(len(self._filter))
            ],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != STATE_VERSION:
            raise ValueError(
                f"a tracker's state of version {STATE_VERSION} is needed, found {state.get('version')!r}"
            )
        try:
            self._restore_tracks(state["tracks"], len(state["class_ids"]))
            self._class_ids = [int(class_id) for class_id in state["class_ids"]]
            self._next_id = int(state["next_id"])
            self._time = None if state["time"] is None else float(state["time"])
            if state["step_s"] is not None:
                self._steps.append(float(state["step_s"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a tracker's state: {error!r}") from error

    def _restore_tracks(self, tracks: list[Mapping[str, Any]], classes: int) -> None:
        def column(name: str) -> F64:
            return np.array([track[name] for track in tracks], np.float64)

        if not tracks:
            return
        boxes = column("box").reshape(-1, 4)
        self._filter.add(boxes, column("velocity").reshape(-1, 4))
        self._book = _Book(
            ids=np.array([track["id"] for track in tracks], np.int64),
            first_times=column("first_time"),
            born_s=-column("age_s"),
            seen_s=-column("unseen_s"),
            sure=np.array([track.get("sure", 1.0) for track in tracks], np.float64),  # before: not kept
            held=np.array([track.get("held", 1.0) for track in tracks], np.float64),
            firm_s=np.array([-track.get("doubtful_s", 0.0) for track in tracks], np.float64),
            confirmed=column("confirmed").astype(bool),
            votes=column("votes").reshape(len(tracks), classes),
        )


def _pair(cost: NDArray[np.floating], rows: Index, columns: Index, limit: float) -> Pairs:
    """The best pairs of some rows and some columns of ``cost``."""
    if not len(rows) or not len(columns):
        return rows[:0], columns[:0]
    chosen, taken = assign(cost[np.ix_(rows, columns)], limit)
    return rows[chosen], columns[taken]


def _without(indices: Index, taken: Index) -> Index:
    """``indices`` less those ``taken``; for a few dozen of them cheaper than NumPy's set functions."""
    gone = set(taken.tolist())
    return np.array([index for index in indices.tolist() if index not in gone], np.intp)


def _without_twins(detections: Detections, options: TrackerOptions) -> Detections:
    """Leave out second boxes of one object: NMS at the network is for recall, and knows one class at a time.

    A box that is left out hides no other.
    """
    same = detections.class_ids[:, None] == detections.class_ids
    limit = np.where(same, options.second_box_overlap, options.other_second_box_overlap)
    alike = iou_matrix(detections.xyxy, detections.xyxy) >= limit
    np.fill_diagonal(alike, False)
    if not alike.any():
        return detections
    kept = np.ones(len(detections), bool)
    for row in np.argsort(-detections.scores, kind="stable"):
        if kept[row]:
            kept[alike[row]] = False
    return detections.take(kept)


def _votes(detections: Detections, which: Index) -> F32:
    """What boxes count for their class, float32 [N]: a lorry's tail at the edge may be a bus's."""
    xyxy = detections.xyxy[which]
    cut = (xyxy[:, :2] < AT_EDGE).any(axis=1) | (xyxy[:, 2:] > 1 - AT_EDGE).any(axis=1)
    votes: F32 = detections.scores[which] * np.where(cut, np.float32(CUT_VOTE), np.float32(1))
    return votes


def _share_in_picture(xyxy: F64) -> F64:
    inside = np.clip(xyxy, 0, 1)
    share: F64 = np.prod((inside[:, 2:] - inside[:, :2]) / (xyxy[:, 2:] - xyxy[:, :2]), axis=1)
    return share
