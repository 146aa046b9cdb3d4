"""Files of clips that grow no more: made of their parts, once the disk takes them."""

import logging
import math
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path

from sightline.base.logs import WarnOnce
from sightline.config.groups import ClipOptions
from sightline.entities import Clip, ClipState
from sightline.features.clips.clip_writer import discard, settle
from sightline.features.clips.hidden_clip import COPIES, PART, RAW_ENDS, hides, settle_apart
from sightline.features.kept_files import make_private_folder
from sightline.video import transcoder

log = logging.getLogger(__name__)

RETRY_S = 10.0  # what could not be finished is tried again, and whether there is room again
MAX_RAW, MAX_CRASHES = 100, 3  # clips that wait to be covered; failures that are not the disk's
MIN_ROOM_BYTES = 65_536
MAX_COPIES = 8  # clips of a camera that wait for their copies; later ones have none


class ClipFinisher:
    """Makes the files of one camera's clips.

    All but :meth:`wait` is for the clip thread. What :meth:`finish` could not do, which raises OSError or
    ValueError, :meth:`advance` tries again.
    """

    def __init__(
        self,
        camera: str,
        folder: Path,
        options: ClipOptions,
        open_clips: Iterable[Clip],
        rows: deque[Clip],
        *,
        lossless: bool,
        blurred: bool,
    ) -> None:
        """``open_clips``: whose last rows say that they grow; ``rows`` gets those of finished ones."""
        self._camera, self._folder, self._options, self._rows = camera, folder, options, rows
        self._lossless, self._blurred = lossless, blurred
        #: Clips to be finished, by their stems, with their last rows where those are known.
        self.waiting: dict[Path, Clip | None] = {Path(clip.path).with_suffix(""): clip for clip in open_clips}
        self._apart: dict[Path, Future[Clip | None]] = {}  # of those, where they are coded again
        self._crashes: Counter[Path] = Counter()  # attempts that failed, though not for the disk
        self._retry_s = -math.inf
        self._warnings = WarnOnce(log)
        self.failing = True  # until the disk has shown that it takes something
        self.finished = self.without_copy = 0

    def find_leftovers(self) -> None:
        """Take the parts that are there already, and remove what no part speaks of."""
        with suppress(OSError):
            for part in self._folder.glob(f"*{PART}"):
                self.waiting.setdefault(part.with_name(part.name.removesuffix(PART)), None)
            for end in RAW_ENDS:  # copies, and what no line speaks of any more
                for path in self._folder.glob(f"*Z-{self._camera}{end}"):
                    if end in COPIES or not path.with_name(path.name.removesuffix(end) + PART).exists():
                        path.unlink(missing_ok=True)

    def finish(self, stem: Path) -> None:
        """Make the files of one that waits: at once, or, with a copy, when it is its turn."""
        known = self.waiting[stem]
        wants_copy = self._options.h264_copy and not (known and known.codec == "h264")
        if hides(Path(f"{stem}{PART}")):
            if len(self._apart) < MAX_COPIES:  # else it waits
                work = partial(settle_apart, stem, known, 0 if self._lossless else 19)
                self._apart[stem] = transcoder.submit(work)
        elif wants_copy and len(self._apart) < MAX_COPIES:
            self._apart[stem] = transcoder.submit(partial(settle, stem, known, h264_copy=True))
        else:
            self._done(stem, settle(stem, known))

    def advance(self, room_bytes: int) -> None:
        """Take those whose copies have been made, and try the others again, or whether there is room."""
        for stem in [stem for stem, copying in self._apart.items() if copying.done()]:
            try:
                self._done(stem, self._apart.pop(stem).result())
            except (OSError, ValueError) as error:
                self._failed(stem, error)
        waiting = [stem for stem in self.waiting if stem not in self._apart]
        too_many = waiting[:-MAX_RAW] if self._blurred else []
        for stem in {*too_many, *(stem for stem in waiting if self._crashes[stem] >= MAX_CRASHES)}:
            log.error("camera %s: the clip %s cannot be finished: it is deleted", self._camera, stem.name)
            self._done(stem, discard(stem, self.waiting[stem]))
        if time.monotonic() < self._retry_s:
            return
        self._retry_s = time.monotonic() + RETRY_S
        for stem in self.waiting.keys() - self._apart.keys():
            try:
                self.finish(stem)
            except (OSError, ValueError) as error:  # what grows meanwhile goes on
                self._failed(stem, error)
        if self.failing and not self.waiting:  # nothing else would show that there is room
            try:
                make_private_folder(self._folder)
                with tempfile.TemporaryFile(dir=self._folder) as room:
                    room.write(bytes(max(room_bytes, MIN_ROOM_BYTES)))
                self.failing = False
            except OSError as error:
                self.warn(error)

    def wait(self, timeout_s: float) -> None:
        """Until what is coded again has been, but not for longer."""
        wait(self._apart.values(), timeout_s)

    def warn(self, error: OSError | ValueError) -> None:
        """Tell of it once; the disk is taken to fail until it shows otherwise."""
        self.failing = True
        problem = getattr(error, "strerror", None) or error
        self._warnings.warn_once(f"camera {self._camera}: clips cannot be kept in {self._folder}: {problem}")

    def _failed(self, stem: Path, error: OSError | ValueError) -> None:
        """Try again when the disk is better; a process that has died, or content that is wrong, stays so."""
        self.warn(error)
        self._crashes[stem] += isinstance(error, ChildProcessError | ValueError)

    def _done(self, stem: Path, clip: Clip | None) -> None:
        if clip is None and Path(f"{stem}{PART}").exists():
            return  # it still grows, in a worker that is about to end
        del self.waiting[stem]
        self.failing = False
        if clip is not None:
            self.finished += clip.state is ClipState.FINISHED
            wants_copy = self._options.h264_copy and clip.codec != "h264"
            self.without_copy += wants_copy and not clip.h264_path
            self._rows.append(clip)
