"""Clips of cameras with ``privacy.blur``: coded again, in a process of its own, with what is hidden covered.

Until then their video has the name of a part, which nothing but this takes for a clip, and it is deleted
afterwards, as is the whole copy that is made of it meanwhile. The process has the lowest priority, and ends
with the one that started it.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sightline.analysis.saved import from_json
from sightline.base.processes import without_secrets
from sightline.entities import U8, Clip
from sightline.video.blur import cover
from sightline.video.clip_file import Finished, finish
from sightline.video.hidden_areas import HiddenAreas, HiddenRow
from sightline.video.transcoder import transcode

log = logging.getLogger(__name__)

JOB = "sightline.features.clips.settle_job"
PART = ".part.jsonl"
COPIES = (".part.whole.mp4", ".part.whole.mp4.new")  # of the video as it came, while it is covered
RAW_ENDS = (*COPIES, ".part.mp4")


@dataclass(frozen=True, slots=True)
class Hiding:
    """How a clip is covered; what, its frames say."""

    slack_s: float = 0.0  # its times and those of the frames may differ by so much


def covered(
    part: Path, target: Path, hiding: Hiding, frames: Sequence[tuple[float, Sequence[HiddenRow]]]
) -> Finished | None:
    """Write the video of a part, covered; None: nothing of it can be shown.

    Raises:
        OSError: the disk does not take it.
    """
    hidden = HiddenAreas(frames)
    slacks_s = {-hiding.slack_s, 0.0, hiding.slack_s}

    def draw(picture: U8, position_s: float) -> None:
        for area in {area for slack_s in slacks_s for area in hidden.at(position_s + slack_s)}:
            cover(picture, area)

    whole = part.with_suffix(".whole.mp4")
    try:
        return transcode(whole, target, draw=draw) if finish(part, whole) else None
    except ValueError as error:
        log.error("the clip %s is lost: %s", target, error)
        return None
    finally:
        remove_raw(part.with_name(part.name.removesuffix(".part.mp4")), COPIES)


def remove_raw(stem: Path, ends: Sequence[str] = RAW_ENDS) -> None:
    """Remove a clip's video as it came, or its copies alone, which whatever covers it makes anew."""
    for end in ends:
        Path(f"{stem}{end}").unlink(missing_ok=True)


def hides(lines: Path) -> bool:
    """Whether a clip is to be covered, by the first of its lines; of one that is damaged nothing is shown."""
    try:
        with lines.open(encoding="utf-8", errors="replace") as file:
            line = file.readline()
            return line.endswith("\n") and json.loads(line)["hiding"] is not None
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False


def settle_apart(stem: Path, known: Clip | None, nice: int = 19) -> Clip | None:
    """What ``clip_writer.settle`` does and gives, in a process of its own, of the lowest priority by default.

    Raises:
        OSError: not now.
        ChildProcessError: the process has died.
    """
    command = [sys.executable, "-m", JOB, str(nice), str(stem), json.dumps(known and asdict(known))]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=nowhere, env=without_secrets(), start_new_session=True
    ) as child:
        assert child.stdout is not None  # noqa: S101  asked for above
        output = child.stdout.read()  # its input stays open: the end of that would end it
    try:
        answer = json.loads(output)
    except ValueError:
        remove_raw(stem, COPIES)
        text = f"the process that covers {stem.name} has ended with {child.returncode}"
        raise ChildProcessError(text) from None
    if problem := answer.get("problem"):
        raise OSError(*problem)
    clip: Clip | None = from_json(Clip, answer["clip"]) if answer["clip"] else None
    return clip
