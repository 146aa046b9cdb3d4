"""What ``--until-end`` prints when the files have ended."""

from dataclasses import replace

from sightline.entities import Checkpoint, CountWindow, Event, EventKind, Result, SourceWindow
from sightline.supervisor.tally import Tally


def test_objects_are_distinct_rows_count_as_last_told_and_other_events_are_left_out() -> None:
    def count(item_class: str, start: float, count: int, arrivals: int) -> CountWindow:
        return CountWindow("a", item_class, count, start, start + 10, arrivals)

    def watched(start: float, coverage: float) -> SourceWindow:
        return SourceWindow("a", start, start + 10, coverage, 5.0, 0, "pts", "m-1", "")

    first = Event("a", EventKind.CROSSING, "door", 1, "person", 3.0, 3.2, "forward")
    events = [first, replace(first, track_id=2, direction="backward"), replace(first, ordinal=1)]
    tally = Tally()

    def take(*rows: Result) -> None:
        tally.take(Checkpoint("a", rows, {}))

    take(count("person", 0, 1, 1), count("car", 0, 1, 1), watched(0, 0.2), *events)
    take(count("person", 0, 3, 3), count("car", 0, 0, 0), watched(0, 1.0))
    take(count("person", 10, 2, 1), watched(10, 0.5), replace(first, kind=EventKind.ENTER), first)
    take(replace(count("forklift", 10, 0, 0), coverage=0.0))
    assert list(tally.lines(["a", "b"])) == [
        "camera a: person 4",
        "  not seen for a time, since the model lacks them: forklift",
        "  line door, backward: person 1",
        "  line door, forward: person 2",
        "  watched 15.0 s of video, in 2 windows",
        "camera b: nothing counted",
        "  watched 0.0 s of video, in 0 windows",
    ]
