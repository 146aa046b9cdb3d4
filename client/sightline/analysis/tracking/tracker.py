"""ByteTrack in seconds: identities from one frame to the next, at any frame rate.

Each frame: let time pass, match the high boxes by overlap, then the low boxes to tracks that are left
(they keep a track, they never start or confirm one), then what is still left by how far an object can
have moved (:mod:`sightline.analysis.tracking.association`); correct the tracks, start new ones, end those not
seen for long.

Time in here is *watched* time (:mod:`sightline.analysis.timebase`): not having looked is no evidence
that an object has left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.timebase import Moment
from sightline.analysis.tracking.association import Index, match, startable, suppress_duplicates
from sightline.analysis.tracking.kalman import F64, BoxFilter, from_xyxy, to_xyxy
from sightline.analysis.tracking.tracker_options import TrackerOptions
from sightline.entities import F32, I32, Detections, Tracks

Mask = NDArray[np.bool_]

STATE_VERSION = 1
EPSILON_S = 1e-3  # clocks count in ticks: 0.4999 s is half a second
MAX_TRACKS = 1000  # the longest unseen go first beyond this
MAX_COAST_S = 1.0  # of movement over a gap
MIN_ANY_BOX_SHARE = 0.7  # boxes, low ones too, in this share of the time keep a track while they come
AT_EDGE = 0.01  # of the picture's side: a box that near to its edge is truncated by it
TRUNCATED_VOTE = 0.01  # of a vote: a truncated box decides only where the whole was hardly ever seen
MIN_IN_PICTURE = 0.1  # an unseen track ends when less than this share of it is in the picture


@dataclass(slots=True)
class _TrackTable:
    """What is known of N tracks besides their motion; rows agree with the filter's."""

    ids: NDArray[np.int64]
    first_times: F64  # capture time of the first box
    born_s: F64  # watched time of the same
    seen_s: F64  # watched time of the latest box
    high_box_share: F64  # of the time in which it had a high box, the latest ``confirm_s`` counting most
    any_box_share: F64  # the same of any box
    supported_s: F64  # watched time when the shares were last enough to believe in it
    confirmed: Mask
    votes: F64  # [N, K] scores given to each class of ``Tracker._class_ids``

    @classmethod
    def empty(cls) -> _TrackTable:
        """Of no track."""
        columns: dict[str, Any] = {name: np.zeros(0) for name in cls.__slots__}
        columns |= {"ids": np.zeros(0, np.int64), "confirmed": np.zeros(0, bool), "votes": np.zeros((0, 0))}
        return cls(**columns)

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
        self._table = _TrackTable.empty()
        if state is not None:
            self._restore(state)

    def update(self, detections: Detections, moment: Moment) -> Tracks:
        """Track one frame.

        Args:
            detections: every box of the detector, low ones too.
            moment: its place in time.

        Returns:
            The tracks that have a box in this frame, by ascending id.
        """
        options = self.options
        detections = suppress_duplicates(detections.take(detections.scores >= options.low_score), options)
        self._pass_time(moment)
        class_cost = self._class_cost(detections.class_ids)
        tracked, boxes = match(self._filter, detections, class_cost, options)
        self._correct(tracked, boxes, detections, moment.step_s)
        started = startable(boxes, detections, options)
        self._start(started, detections, moment.capture_time)
        rows = np.concatenate([tracked, np.arange(len(self._filter) - len(started), len(self._filter))])
        tracks = self._tracks(rows, np.concatenate([boxes, started]), detections)
        self._end_lost(moment.usual_s)
        return tracks

    def end_all(self) -> None:
        """End every track: the picture is another one now, and its boxes are not comparable."""
        self._end(np.ones(len(self._filter), bool))

    def _pass_time(self, moment: Moment) -> None:
        if moment.blind:
            self.end_all()
        self._watched_s = moment.watched_s
        # After a gap no object is believed to have gone on for long: one that stands is found where it stood.
        max_s = max(moment.usual_s, MAX_COAST_S) if moment.gap else math.inf
        self._filter.predict(min(moment.elapsed_s, max_s))

    def _class_cost(self, class_ids: I32) -> F32:
        """What it costs a track to take a box of each class: float32 [N, len(class_ids)]."""
        columns = self._columns(class_ids)
        votes = self._table.votes[:, columns]
        total = self._table.votes.sum(axis=1, keepdims=True)
        cost: F32 = (self.options.class_penalty * (1 - votes / np.maximum(total, 1e-9))).astype(np.float32)
        return cost

    # -- what follows from a match ---------------------------------------------------------------

    def _correct(self, rows: Index, boxes: Index, detections: Detections, step_s: float) -> None:
        table, options = self._table, self.options
        scores = detections.scores[boxes]
        self._filter.update(rows, from_xyxy(detections.xyxy[boxes]))
        columns = self._columns(detections.class_ids[boxes])
        table.votes[rows, columns] += _votes(detections, boxes)
        table.seen_s[rows] = self._watched_s
        high = scores >= options.min_score
        # So many seconds, not so many frames: at 30 fps a false box has six times as many chances as at 5.
        decay = math.exp(-step_s / max(options.confirm_s, EPSILON_S))
        table.high_box_share *= decay
        table.high_box_share[rows[high]] += 1 - decay
        table.any_box_share *= decay
        table.any_box_share[rows] += 1 - decay
        enough = table.high_box_share >= options.confirm_share
        table.supported_s[enough | (table.any_box_share >= MIN_ANY_BOX_SHARE)] = self._watched_s
        lasted = self._watched_s - table.born_s[rows] >= options.confirm_s - EPSILON_S
        table.confirmed[rows] |= lasted & high & enough[rows]

    def _start(self, which: Index, detections: Detections, time: float) -> None:
        count, table = len(which), self._table
        if not count:
            return
        columns = self._columns(detections.class_ids[which])
        votes = np.zeros((count, len(self._class_ids)))
        votes[np.arange(count), columns] = _votes(detections, which)
        self._filter.add(from_xyxy(detections.xyxy[which]))
        now = np.full(count, self._watched_s)
        table.ids = np.concatenate([table.ids, self._next_id + np.arange(count)])
        table.first_times = np.concatenate([table.first_times, np.full(count, float(time))])
        table.born_s = np.concatenate([table.born_s, now])
        table.seen_s = np.concatenate([table.seen_s, now])
        table.high_box_share = np.concatenate([table.high_box_share, np.zeros(count)])
        table.any_box_share = np.concatenate([table.any_box_share, np.zeros(count)])
        table.supported_s = np.concatenate([table.supported_s, now])
        table.confirmed = np.concatenate([table.confirmed, np.full(count, self.options.confirm_s <= 0)])
        table.votes = np.concatenate([table.votes, votes])
        self._next_id += count

    def _end_lost(self, usual_s: float) -> None:
        table, tentative_s = self._table, self._tentative_s(usual_s)
        unseen_s = self._watched_s - table.seen_s
        # A short-lived track is not decay lost for longer than it was visible.
        there_s = np.clip(table.supported_s - table.born_s, tentative_s, self.options.max_lost_s)
        patience_s = np.where(table.confirmed, there_s, tentative_s)
        over = unseen_s > patience_s + EPSILON_S
        # Stray boxes of neighbours must not keep a vanished track alive.
        over |= table.confirmed & (self._watched_s - table.supported_s > patience_s + EPSILON_S)
        over |= (unseen_s > 0) & (_share_in_picture(self._filter.xyxy()) < MIN_IN_PICTURE)
        if len(over) > MAX_TRACKS:
            over[np.argsort(unseen_s, kind="stable")[MAX_TRACKS:]] = True
        if over.any():
            self._end(over)

    def _tentative_s(self, usual_s: float) -> float:
        """A track that is not confirmed may miss half the time it needs, and one frame at any rate."""
        return min(max(self.options.confirm_s / 2, 1.5 * usual_s), self.options.max_lost_s)

    def _end(self, over: Mask) -> None:
        self._filter.keep(~over)
        self._table.keep(~over)

    def _columns(self, class_ids: I32) -> list[int]:
        """The columns of votes that belong to ``class_ids``; new classes get a new one."""
        known = self._class_ids
        wanted = class_ids.tolist()
        for new in sorted(set(wanted) - set(known)):
            known.append(new)
        missing = len(known) - self._table.votes.shape[1]
        if missing:
            self._table.votes = np.pad(self._table.votes, ((0, 0), (0, missing)))
        column_of = {class_id: column for column, class_id in enumerate(known)}
        return [column_of[class_id] for class_id in wanted]

    def _tracks(self, rows: Index, boxes: Index, detections: Detections) -> Tracks:
        if not len(rows):
            return Tracks.empty()
        order = np.argsort(self._table.ids[rows])
        rows, boxes = rows[order], boxes[order]
        table = self._table
        return Tracks(
            ids=table.ids[rows],
            xyxy=np.clip(to_xyxy(self._filter.mean[rows]), 0, 1).astype(np.float32),
            scores=detections.scores[boxes],
            class_ids=np.array(self._class_ids, np.int32)[table.votes[rows].argmax(axis=1)],
            first_times=table.first_times[rows],
            confirmed=table.confirmed[rows],
        )

    # -- state -----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Everything a successor needs to go on with the same ids; JSON-able."""
        table = self._table
        return {
            "version": STATE_VERSION,
            "next_id": self._next_id,
            "class_ids": list(self._class_ids),
            "tracks": [
                {
                    "id": int(table.ids[row]),
                    "first_time": float(table.first_times[row]),
                    "age_s": round(float(self._watched_s - table.born_s[row]), 4),
                    "unseen_s": round(float(self._watched_s - table.seen_s[row]), 4),
                    "sure": round(float(table.high_box_share[row]), 4),
                    "held": round(float(table.any_box_share[row]), 4),
                    "doubtful_s": round(float(self._watched_s - table.supported_s[row]), 4),
                    "confirmed": bool(table.confirmed[row]),
                    "box": [round(value, 5) for value in self._filter.mean[row].tolist()],
                    "velocity": [round(value, 5) for value in self._filter.velocity[row].tolist()],
                    "votes": [round(value, 2) for value in table.votes[row].tolist()],
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
        self._table = _TrackTable(
            ids=np.array([track["id"] for track in tracks], np.int64),
            first_times=column("first_time"),
            born_s=-column("age_s"),
            seen_s=-column("unseen_s"),
            high_box_share=np.array([track.get("sure", 1.0) for track in tracks], np.float64),
            any_box_share=np.array([track.get("held", 1.0) for track in tracks], np.float64),
            supported_s=np.array([-track.get("doubtful_s", 0.0) for track in tracks], np.float64),
            confirmed=column("confirmed").astype(bool),
            votes=column("votes").reshape(len(tracks), classes),
        )


def _votes(detections: Detections, which: Index) -> F32:
    """What boxes count for their class, float32 [N]: a lorry's tail at the edge may be a bus's."""
    xyxy = detections.xyxy[which]
    truncated = (xyxy[:, :2] < AT_EDGE).any(axis=1) | (xyxy[:, 2:] > 1 - AT_EDGE).any(axis=1)
    votes: F32 = detections.scores[which] * np.where(truncated, np.float32(TRUNCATED_VOTE), np.float32(1))
    return votes


def _share_in_picture(xyxy: F64) -> F64:
    inside = np.clip(xyxy, 0, 1)
    share: F64 = np.prod((inside[:, 2:] - inside[:, :2]) / (xyxy[:, 2:] - xyxy[:, :2]), axis=1)
    return share
