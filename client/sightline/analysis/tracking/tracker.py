"""ByteTrack in seconds: identities from one frame to the next, at any frame rate.

Each frame: let time pass, match the high boxes by overlap, then the low boxes to tracks that are left
(they keep a track, never start one, and confirm only what travels), then what is still left by how far an
object can have moved (:mod:`sightline.analysis.tracking.association`); correct the tracks, start new ones,
end those not seen for long.

Time in here is *watched* time (:mod:`sightline.analysis.timebase`): not having looked is no evidence
that an object has left.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.options import TrackerOptions
from sightline.analysis.saved import from_json
from sightline.analysis.timebase import Moment
from sightline.analysis.tracking.assignment import Index
from sightline.analysis.tracking.association import match, startable, unique_boxes
from sightline.analysis.tracking.kalman import BoxFilter, from_xyxy, to_xyxy
from sightline.base.geometry import iou_matrix, travelled
from sightline.entities import F32, I32, Detections, Tracks

STATE_VERSION = 1
EPSILON_S = 1e-3  # clocks count in ticks: 0.4999 s is half a second
MAX_TRACKS = 1000  # the longest unseen go first beyond this
MAX_COAST_S = 1.0  # of movement over a gap
TRAVELLED = 1.0  # box sizes from the first box: low boxes confirm that too, false ones stay where they are
AT_EDGE = 0.01  # of the picture's side: a box that near to its edge is truncated by it
TRUNCATED_VOTE = 0.01  # of a vote: a truncated box decides only where the whole was hardly ever seen
ALIKE_SHARE = 0.9  # of a vote counts for a class that detectors confuse with the one voted for
MIN_IN_PICTURE = 0.1  # an unseen track ends when less than this share of it is in the picture

#: What is known of a track besides its motion and its votes.
_TRACK = np.dtype(
    [
        ("id", np.int64),
        ("first_time", np.float64),  # capture time of the first box
        ("born_s", np.float64),  # watched time of the same
        ("seen_s", np.float64),  # watched time of the latest box
        ("high_box_share", np.float64),  # of its time with a high box, the latest ``confirm_s`` counting most
        ("any_box_share", np.float64),  # the same of any box
        ("supported_s", np.float64),  # watched time when that was last enough to believe in it
        ("confirmed", np.bool_),
        ("first_box", np.float64, (4,)),  # centre x, centre y, width, height
    ]
)
#: What of it has another name in a state: ages there, instants here; and shares.
_AGES = {"age_s": "born_s", "unseen_s": "seen_s", "doubtful_s": "supported_s"}
_SHARES = {"sure": "high_box_share", "held": "any_box_share"}
MAX_SAVED = 100.0  # pictures, and pictures a second: of a box in a state
# Left and top below the first number, or right and bottom above it: both as one comparison.
_EDGE_SIGN = np.array([1, 1, -1, -1], np.float32)
_EDGE = np.array([AT_EDGE, AT_EDGE, AT_EDGE - 1, AT_EDGE - 1], np.float32)


@dataclass(frozen=True, slots=True)
class _SavedTrack:
    """One track in a state; earlier releases lack what has a default."""

    id: int
    first_time: float
    confirmed: bool
    age_s: float
    unseen_s: float
    box: tuple[float, float, float, float]
    velocity: tuple[float, float, float, float]
    votes: list[float]
    doubtful_s: float = 0.0
    sure: float = 1.0
    held: float = 1.0
    first_box: tuple[float, float, float, float] | None = None  # not of one that is confirmed


class Tracker:
    """The tracks of one camera. Belongs to one thread."""

    def __init__(
        self,
        options: TrackerOptions,
        *,
        alike: Callable[[int, int], bool] = operator.eq,
        state: Mapping[str, Any] | None = None,
        first_id: int = 1,
    ) -> None:
        """Begin, or go on from a :meth:`snapshot`; ids from ``first_id`` or where it says, if that is higher.

        ``alike`` says of two class ids whether detectors confuse the classes.

        Raises:
            ValueError: ``state`` is not a snapshot that this version understands.
        """
        self.options = options
        self._next_id = first_id
        self._watched_s = 0.0  # at the newest frame
        # The tracks, by ascending id: rows of these three agree.
        self._filter = BoxFilter(options.motion)
        self._table = np.zeros(0, _TRACK)
        self._votes = np.zeros((0, 0))  # [N, K] scores given to each class of the next
        self._column_of: dict[int, int] = {}  # classes met so far
        self._alike = alike
        self._kinship = np.zeros((0, 0))  # [K, K] how much a vote for the one class counts for the other
        if state is not None:
            self._restore(state)

    def update(self, detections: Detections, moment: Moment) -> Tracks:
        """The tracks that have a box in this frame, by ascending id.

        Takes every box of the detector, low ones too.
        """
        options = self.options
        enough = detections.scores >= options.low_score
        if not enough.all():
            detections = detections.take(enough)
        if moment.blind:
            self.end_all()
        self._watched_s = moment.watched_s
        # After a gap no object is believed to have gone on for long: one that stands is found where it stood.
        max_s = max(moment.usual_s, MAX_COAST_S) if moment.gap else math.inf
        self._filter.predict(min(moment.elapsed_s, max_s))
        before = len(self._filter)
        # Of an object that leaves the picture only what is still in it can be found.
        predicted = np.clip(to_xyxy(self._filter.mean), 0, 1).T.astype(np.float32)
        iou = iou_matrix(np.concatenate([predicted, detections.xyxy]), detections.xyxy)
        columns = self._columns(detections.class_ids)
        unique = unique_boxes(detections, columns, self._kinship, iou[before:], options)
        if unique is not None:
            detections, columns = detections.take(unique), columns[unique]
            iou = iou[np.concatenate([np.ones(before, bool), unique])][:, unique]
        # What it costs a track to take a box of another class than it was seen with.
        shares = self._votes @ self._kinship / np.maximum(self._votes.sum(axis=1, keepdims=True), 1e-9)
        class_cost = (options.class_penalty * (1 - shares)).astype(np.float32)[:, columns]
        confirmed = self._table["confirmed"]
        tracked, boxes = match(self._filter, detections, iou[:before], class_cost, confirmed, options)
        # A truncated box counts little for its class: a lorry's tail at the edge may be a bus's.
        truncated = (detections.xyxy * _EDGE_SIGN < _EDGE).any(axis=1)
        votes = detections.scores * np.where(truncated, np.float32(TRUNCATED_VOTE), np.float32(1))
        self._correct(tracked, detections.take(boxes), columns[boxes], votes[boxes], moment.step_s)
        if len(boxes) < len(detections):
            started = startable(boxes, detections, iou[before:], options)
            self._start(detections.take(started), columns[started], votes[started], moment.capture_time)
            tracked = np.concatenate([tracked, np.arange(before, before + len(started))])
            boxes = np.concatenate([boxes, started])
        tracks = self._tracks(tracked, detections.scores[boxes])
        self._end_lost(moment.usual_s)
        return tracks

    def all_tracks(self) -> Tracks:
        """Every track that lives, also those without a box now."""
        every = np.arange(len(self._table))
        return self._tracks(every, np.zeros(len(every), np.float32))

    def end_all(self) -> None:
        """End every track: the picture is another one now, and its boxes are not comparable."""
        self._keep(np.zeros(len(self._filter), bool))

    def _columns(self, class_ids: I32) -> Index:
        """The columns of votes that belong to ``class_ids``; new classes get a new one."""
        column_of, wanted = self._column_of, class_ids.tolist()
        if new := sorted(set(wanted) - column_of.keys()):
            column_of |= {class_id: column for column, class_id in enumerate(new, len(column_of))}
            self._votes = np.pad(self._votes, ((0, 0), (0, len(new))))
            self._relate()
        return np.array([column_of[class_id] for class_id in wanted], np.intp)

    def _relate(self) -> None:
        ids = [*self._column_of]
        alike = np.array([[self._alike(a, b) for b in ids] for a in ids], np.float64)
        self._kinship = np.where(np.eye(len(ids)), 1.0, ALIKE_SHARE * alike.reshape(len(ids), len(ids)))

    def _correct(
        self, rows: Index, detections: Detections, columns: Index, votes: F32, step_s: float
    ) -> None:
        table, options, now_s = self._table, self.options, self._watched_s
        self._filter.update(rows, from_xyxy(detections.xyxy))
        self._votes[rows, columns] += votes
        high = detections.scores >= options.min_score
        # So many seconds, not so many frames: at 30 fps a false box has six times as many chances as at 5.
        decay = math.exp(-step_s / max(options.confirm_s, EPSILON_S))
        high_box_share, any_box_share = table["high_box_share"], table["any_box_share"]
        high_box_share *= decay
        high_box_share[rows] += high * (1 - decay)
        any_box_share *= decay
        any_box_share[rows] += 1 - decay
        table["seen_s"][rows] = now_s
        supported = any_box_share >= options.confirm_share
        table["supported_s"][supported] = now_s
        sure = high & (high_box_share[rows] >= options.confirm_share)
        if not table["confirmed"].all():
            first, now = table["first_box"][rows].T, self._filter.mean[:, rows]
            sure |= supported[rows] & (travelled(to_xyxy(first), to_xyxy(now)) >= TRAVELLED)
        sure &= now_s - table["born_s"][rows] >= options.confirm_s - EPSILON_S
        table["confirmed"][rows] |= sure

    def _start(self, detections: Detections, columns: Index, votes: F32, time: float) -> None:
        count, now_s = len(detections), self._watched_s
        boxes, confirmed = from_xyxy(detections.xyxy), self.options.confirm_s <= 0
        self._filter.add(boxes)
        new = [
            (self._next_id + i, time, now_s, now_s, 0.0, 0.0, now_s, confirmed, box)
            for i, box in enumerate(boxes.T)
        ]
        self._next_id += count
        self._table = np.concatenate([self._table, np.array(new, _TRACK)])
        given = np.zeros((count, len(self._column_of)))
        given[np.arange(count), columns] = votes
        self._votes = np.concatenate([self._votes, given])

    def _tracks(self, rows: Index, scores: F32) -> Tracks:
        if not len(rows):
            return Tracks.empty()
        table, xyxy = self._table.take(rows), to_xyxy(self._filter.mean[:, rows])
        class_ids = np.array([*self._column_of], np.int32)
        return Tracks(
            ids=table["id"],
            xyxy=np.minimum(np.maximum(xyxy, 0), 1).T.astype(np.float32, order="C"),
            scores=scores,
            class_ids=class_ids[self._votes[rows].argmax(axis=1)],
            first_times=table["first_time"],
            confirmed=table["confirmed"],
        )

    def _end_lost(self, usual_s: float) -> None:
        table, options, now_s = self._table, self.options, self._watched_s
        seen_s, supported_s = table["seen_s"], table["supported_s"]
        unseen = seen_s < now_s
        if not (unseen | (supported_s < now_s)).any() and len(table) <= MAX_TRACKS:
            return
        # A track that is not confirmed may miss half the time it needs, and one frame at any rate.
        tentative_s = min(max(options.confirm_s / 2, 1.5 * usual_s), options.max_lost_s)
        # A short-lived track is not kept lost for longer than it was visible.
        patience_s = np.minimum(np.maximum(supported_s - table["born_s"], tentative_s), options.max_lost_s)
        patience_s += EPSILON_S
        over = now_s - seen_s > patience_s
        # Stray boxes of neighbours must not keep a vanished track alive.
        over |= table["confirmed"] & (now_s - supported_s > patience_s)
        if unseen.any():
            xyxy = to_xyxy(self._filter.mean)
            inside = np.minimum(np.maximum(xyxy, 0), 1)
            width, height = (inside[2:] - inside[:2]) / (xyxy[2:] - xyxy[:2])
            over |= unseen & (width * height < MIN_IN_PICTURE)
        if len(over) > MAX_TRACKS:
            over[np.argsort(now_s - seen_s, kind="stable")[MAX_TRACKS:]] = True
        if over.any():
            self._keep(~over)

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self._filter.keep(which)
        self._table, self._votes = self._table[which], self._votes[which]

    def snapshot(self) -> dict[str, Any]:
        """Everything a successor needs to go on with the same ids; JSON-able."""
        table, now_s = self._table, self._watched_s
        columns = {
            **{name: table[name] for name in ("id", "first_time", "confirmed")},
            **{name: (now_s - table[column]).round(4) for name, column in _AGES.items()},
            **{name: table[column].round(4) for name, column in _SHARES.items()},
            "first_box": table["first_box"].round(4),
            "box": self._filter.mean.T.round(5),
            "velocity": self._filter.velocity.T.round(5),
            "votes": self._votes.round(2),
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        tracks = [dict(zip(columns, row, strict=True)) for row in rows]
        for track in tracks:
            if track["confirmed"]:
                del track["first_box"]  # it has told what it can
        return {
            "version": STATE_VERSION,
            "next_id": self._next_id,
            "class_ids": list(self._column_of),
            "tracks": tracks,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != STATE_VERSION:
            raise ValueError(
                f"a tracker's state of version {STATE_VERSION} is needed, found {state.get('version')!r}"
            )
        try:
            tracks = from_json(list[_SavedTrack], state["tracks"])
            class_ids = from_json(list[int], state["class_ids"])
            self._next_id = max(self._next_id, from_json(int, state["next_id"]))
        except (KeyError, ValueError) as error:
            raise ValueError(f"not a tracker's state: {error!r}") from error
        self._column_of = {class_id: column for column, class_id in enumerate(class_ids)}
        ids, widths = [track.id for track in tracks], {len(track.votes) for track in tracks}
        boxes = np.array([[track.box, track.velocity] for track in tracks]).reshape(-1, 2, 4)
        numbers_fit = not (np.abs(boxes) > MAX_SAVED).any() and all(0 <= n < 2**31 for n in class_ids)
        if not numbers_fit or widths - {len(self._column_of)} or 0 in widths or ids != sorted({*ids}):
            raise ValueError("not a tracker's state: its boxes, classes or ids cannot be")
        rows = [
            (
                *(t.id, t.first_time, -t.age_s, -t.unseen_s, t.sure, t.held, -t.doubtful_s, t.confirmed),
                t.first_box or t.box,
            )
            for t in tracks
        ]
        self._table = np.array(rows, _TRACK)
        self._votes = np.array([track.votes for track in tracks]).reshape(len(tracks), len(self._column_of))
        self._filter.add(*boxes.transpose(1, 2, 0))
        self._relate()
