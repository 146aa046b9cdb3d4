"""``python -m sightline.features.clips.settle_job NICE STEM ROW``: makes a clip's files; prints its row.

ROW is the row that says that it is growing, as JSON, or null. The process ends when its input does, and
leaves of the raw video only the part itself.
"""

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from sightline.analysis.saved import from_json
from sightline.entities import Clip
from sightline.features.clips.clip_writer import settle
from sightline.features.clips.hidden_clip import COPIES, remove_raw


def _end_with_input(stem: Path) -> None:
    while os.read(0, 1):
        pass
    try:
        remove_raw(stem, COPIES)
    finally:
        os._exit(1)


def main() -> None:
    """Do it."""
    nice, stem, row = sys.argv[1:]
    os.nice(int(nice))
    threading.Thread(target=_end_with_input, args=(Path(stem),), daemon=True).start()
    try:
        clip = settle(Path(stem), from_json(Clip, json.loads(row)) if row != "null" else None)
        answer: dict[str, object] = {"clip": clip and asdict(clip)}
    except OSError as error:
        answer = {"problem": (error.errno, error.strerror or str(error))}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
