"""ByteTrack in seconds: who is who from one frame to the next, at any frame rate.

Each frame: let time pass, match the sure boxes by overlap, then the weak boxes to tracks that are left
(they keep a track, they never start or confirm one), then what is still left by how far an object can
have moved; correct the tracks, start new ones, end those not seen for long.

Time in here is *watched* time (:mod:`sightline.analysis.timebase`): not having looked is no evidence that
somebody has left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.timebase import Moment
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
MAX_COAST_S = 1.0  # of movement over a gap
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
    max_lost_s: float = 3.0  # watched time without a box after which a track has ended
    min_iou: float = 0.2  # IoU of a predicted and a sure box
    min_low_iou: float = 0.5  # the same for a weak box
    max_deviation: float = 3.0  # second chance: standard deviations from the predicted place
    max_distance: float = 2.0  # second chance: object sizes from the predicted place
    max_side_ratio: float = 2.0  # second chance: how much wider or higher the box may be
    class_penalty: float = 0.4  # overlap that a class the track was never seen with costs
    dedupe_iou: float = 0.6  # a box that overlaps a better one of its class by this is the same object
    dedupe_other_iou: float = 0.7  # the same for one of another class
    max_start_iou: float = 0.8  # a box that overlaps a tracked one by this starts no track
    soft_nms_sigma: float = 0.5  # Soft-NMS: a new box's score is scaled by exp(-IoU² / sigma)
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
        self, options: TrackerOptions, *, state: Mapping[str, Any] | None = None, first_id: int = 1
    ) -> None:
        """Begin, or go on from a :meth:`snapshot`.

        Args:
            options: how to track.
            state: where to go on.
            first_id: ids begin here, or where the snapshot says, whichever is higher.

        Raises:
            ValueError: ``state`` is not a snapshot that this version understands.
        """
        self.options = options
        self._filter = BoxFilter(options.motion)
        self._class_ids: list[int] = []  # classes met so far, in the order of the columns of votes
        self._next_id = first_id
        self._watched_s = 0.0  # at the newest frame
        self._book = _Book.empty()
        if state is not None:
            self._restore(state)

    def update(self, detections: Detections, moment: Moment) -> Tracks:
        """Track one frame.

        Args:
            detections: every box the detector gave, weak ones too.
            moment: its place in time.

        Returns:
            The tracks that have a box in this frame, by ascending id.
        """
        detections = detections.take(detections.scores >= self.options.low_score)
        detections = _without_twins(detections, self.options)
        self._pass_time(moment)
        tracked, boxes = self._match(detections)
        self._correct(tracked, boxes, detections, moment.step_s)
        started = self._startable(boxes, detections)
        self._start(started, detections, moment.capture_time)
        rows = np.concatenate([tracked, np.arange(len(self._filter) - len(started), len(self._filter))])
        found = self._tracks(rows, np.concatenate([boxes, started]), detections)
        self._end_lost(moment.usual_s)
        return found

    def end_all(self) -> None:
        """End every track: the picture is another one now, and its boxes are not comparable."""
        self._end(np.ones(len(self._filter), bool))

    def _pass_time(self, moment: Moment) -> None:
        if moment.blind:
            self.end_all()
        self._watched_s = moment.watched_s
        # After a gap nobody is believed to have gone on for long: who stands is found where they stood.
        most_s = max(moment.usual_s, MAX_COAST_S) if moment.gap else math.inf
        self._filter.predict(min(moment.elapsed_s, most_s))

    # -- matching --------------------------------------------------------------------------------

    def _match(self, detections: Detections) -> Pairs:
        """Pairs of tracks and detections, each at most once."""
        tracks, boxes = np.arange(len(self._filter)), np.arange(len(detections))
        if not len(tracks) or not len(boxes):
            return tracks[:0], boxes[:0]
        options, sure = self.options, detections.scores >= self.options.min_score
        alike = iou_matrix(self._filter.xyxy().astype(np.float32), detections.xyxy)
        cost = 1 - alike + self._strangeness(detections.class_ids)
        first = _pair(cost, tracks, boxes[sure], 1 - options.min_iou)
        left = _without(tracks, first[0])
        second = _pair(cost, left, boxes[~sure], 1 - options.min_low_iou)
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

    def _correct(self, rows: Index, boxes: Index, detections: Detections, step_s: float) -> None:
        book, options = self._book, self.options
        scores = detections.scores[boxes]
        self._filter.update(rows, from_xyxy(detections.xyxy[boxes]))
        columns = self._columns(detections.class_ids[boxes])
        book.votes[rows, columns] += _votes(detections, boxes)
        book.seen_s[rows] = self._watched_s
        sure = scores >= options.min_score
        # So many seconds, not so many frames: at 30 fps a false box has six times as many chances as at 5.
        kept = math.exp(-step_s / max(options.confirm_s, EPSILON_S))
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
        left = detections.scores[candidates, None] * np.exp(-(overlap**2) / self.options.soft_nms_sigma)
        twin = (overlap >= self.options.max_start_iou) | (left < self.options.min_score)
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

    def _end_lost(self, usual_s: float) -> None:
        book, tentative_s = self._book, self._tentative_s(usual_s)
        unseen_s = self._watched_s - book.seen_s
        # Who was there for a second is not waited for longer than that.
        there_s = np.clip(book.firm_s - book.born_s, tentative_s, self.options.max_lost_s)
        patience_s = np.where(book.confirmed, there_s, tentative_s)
        over = unseen_s > patience_s + EPSILON_S
        # Now and then a box of somebody else's comes near: that keeps nobody who is not there.
        over |= book.confirmed & (self._watched_s - book.firm_s > patience_s + EPSILON_S)
        over |= (unseen_s > 0) & (_share_in_picture(self._filter.xyxy()) < OUT_OF_PICTURE)
        if len(over) > MAX_TRACKS:
            over[np.argsort(unseen_s, kind="stable")[MAX_TRACKS:]] = True
        if over.any():
            self._end(over)

    def _tentative_s(self, usual_s: float) -> float:
        """A track that is not confirmed may miss half the time it needs, and one frame at any rate."""
        return min(max(self.options.confirm_s / 2, 1.5 * usual_s), self.options.max_lost_s)

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
            self._next_id = max(self._next_id, int(state["next_id"]))
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
    limit = np.where(same, options.dedupe_iou, options.dedupe_other_iou)
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
