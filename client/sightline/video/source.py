"""Frames of one camera: PyAV over RTSP, or a file.

A source runs until it fails, and then raises how; the feed opens it again. It is used by one thread, the
camera's decode thread. Other threads may read its attributes (each written by the decode thread alone), and
call :meth:`Source.abort` and :meth:`Source.change_fps`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sightline.base.logs import WarnOnce
from sightline.config import Camera
from sightline.entities import Frame
from sightline.errors import SourceEnded, SourceStalled, SourceUnusable
from sightline.video import container as demux
from sightline.video.clock import CaptureClock, ClockReading, FpsGate, UtcClock
from sightline.video.decoders import DecoderChoice
from sightline.video.display import AS_DECODED, display_of
from sightline.video.packets import CodedPacket, CodedStream, PacketObserver
from sightline.video.sound import sound_of
from sightline.video.timeline import PtsStep, RecordedTimes, Timeline

log = logging.getLogger(__name__)

AWAIT_KEY_S = 10.0  # cameras with intra refresh send no key frame; damage has washed out by then
STALLS_WITHOUT_PICTURE = 4  # give up after this many stall timeouts with packets but no decoded picture
WARN_EVERY_S = 1.0
MIN_SEEN_SHARE = 0.9  # of what a recording says it has, less a second
#: No packet takes so long to decode, and no stream so long to close.
DECODE_S = CLOSE_S = 10.0
CODED_END = 32  # bytes: the end of a coded picture is as good as random


class Source:
    """One camera's stream, over all its openings; so time never goes back, and a fallback is logged once.

    Args:
        camera: what to open, and how.
        realtime: play files at the speed they were recorded at; False: as fast as they are asked for.
    """

    def __init__(self, camera: Camera, *, realtime: bool = True) -> None:
        self._camera = camera
        #: A file, which is played over and over.
        self.recorded = demux.is_file(camera.source_url)
        self._paced = realtime and self.recorded
        self._arrival_said = False  # that media time is not used
        max_skew_s = camera.stream.max_clock_skew_s
        self._clock = CaptureClock(UtcClock(), max_skew_s=max_skew_s, camera=camera.name)
        self._gate = FpsGate(camera.stream.fps)
        self._aborted = threading.Event()
        self._container: InputContainer | None = None
        self._stream: VideoStream  # this and the next three: of the last opening
        self._recorded_times: RecordedTimes
        self._timeline: Timeline
        self._coded_stream: CodedStream | None = None
        self._sound: AudioStream | None = None
        self._warnings = WarnOnce(log)
        self._picture_s = 0.0  # time.monotonic() of the last sound picture
        self._warned_s = 0.0
        self._unlogged_errors = 0
        self._played: tuple[float, float] | None = None  # see go_on
        self._begin()
        self.decoder = DecoderChoice(camera)  # which one is at work
        #: Get every packet of the video before it is decoded; set before the decode thread starts.
        self.packet_observers: tuple[PacketObserver, ...] = ()
        #: Those that have failed since one other thread took them from the left, and how; they get no more.
        self.failed_observers: deque[tuple[PacketObserver, Exception]] = deque()
        #: What FFmpeg does for us now, and until when at the latest (``time.monotonic()``).
        self.call: tuple[str, float] | None = None
        self.packets = 0  # received, of the video
        self.decode_errors = 0  # packets that could not be decoded, and damaged pictures
        self.gate_skipped = 0  # frames decoded and let go by the FPS gate
        self._keys_seen = 0
        self.stray_frames = 0  # frames dropped for a missing or backward PTS
        self.receive_s = 0.0  # that the last packet was waited for
        self.waited_s = 0.0  # for all packets, and until a file's frames were due
        self.decode_s = 0.0  # that the last packet took to decode

    @property
    def codec(self) -> str:
        """What the open stream is coded with, as FFmpeg names it, such as ``h264``."""
        return self._stream.codec_context.codec.canonical_name

    @property
    def clock_skew_s(self) -> float | None:
        """How far the camera's clock is ahead of ours, latency included; None: it has not told it."""
        return self._clock.skew_s

    @property
    def clock_readings(self) -> deque[ClockReading]:
        """Of the camera's clock; one other thread may take them from the left."""
        return self._clock.sender.readings

    def resolve(self) -> None:
        """Resolve the host's name, before :meth:`open`; see :func:`sightline.video.container.check_name`."""
        demux.check_name(self._camera)

    def open(self) -> None:
        """Connect, then look into the stream; each takes at most the camera's ``open_timeout_s``.

        Raises:
            SourceError: the kind says why.
        """
        self._begin()
        self._begin_opening()
        try:
            self._container = demux.open_container(
                self._camera, self.decoder.accelerator(), self._begin_opening
            )
            self._stream = demux.prepare_decoder(self._container, self._camera)
            self._sound = self._find_sound(self._container)
            self._coded_stream = CodedStream.of(self._stream, self._sound) if self.packet_observers else None
            self._own_aspect = demux.own_pixel_aspect(self._stream, self._camera)
            self._written_s = demux.written_s(self._container, self._stream)
            self._period_s = demux.frame_period_s(self._stream)
            self._recorded_times = RecordedTimes(self._period_s)
            self._timeline = Timeline(timed=demux.has_times(self._container))
        except BaseException:
            self.close()
            raise
        finally:
            self.call = None

    def frames(self) -> Iterator[Frame]:
        """The frames that are due, until the stream fails.

        Raises:
            SourceError: the kind says how it ended; the end of a file is SourceEnded.
        """
        for packet in self._receive():
            received_s = time.monotonic()
            camera_time = demux.camera_time(packet)
            coded_end = bytes(memoryview(packet)[-CODED_END:]) if packet.size else b""
            packet.opaque = (received_s, camera_time, coded_end)  # rides through the decoder with it
            self._hand_on(packet, received_s, camera_time)
            for decoded in self._decode(packet):
                if (frame := self._timed(decoded)) is not None:
                    yield frame
        self._warn_of_damage(at_once=True)
        if not self._aborted.is_set():
            if self.recorded and not self._timed_frames:
                raise SourceUnusable("no picture of the file could be decoded")
            self._warn_of_missing_end()
            raise SourceEnded("the file has ended" if self.recorded else "the camera ended the stream")

    def close(self) -> None:
        """Let go of the stream; by the thread that opened it. Nothing happens the second time."""
        container, self._container = self._container, None
        if container is not None:
            self.call = ("closing", time.monotonic() + CLOSE_S)
            container.close()
            self.call = None

    def change_fps(self, fps: float | None) -> None:
        """Let another rate pass from now on; any thread may call this."""
        self._gate.change(fps)

    def go_on(self, media_s: float, capture_time: float) -> None:
        """Play a file on from the frame that had these times: it and those before are passed over.

        They are decoded all the same, since those that follow are made from them. To be called before
        :meth:`open`.

        Args:
            media_s: of the last frame that is not wanted again.
            capture_time: what it was stamped with; UTC epoch seconds.
        """
        self._played = media_s, capture_time

    def leave_out(self, observer: object) -> None:
        """Show it no more packets, if it was shown any."""
        self.packet_observers = tuple(one for one in self.packet_observers if one is not observer)

    def abort(self) -> None:
        """Make :meth:`frames` end soon without an error; any thread may call this.

        A read that waits inside FFmpeg ends by its own timeout (``stall_timeout_s``).
        """
        self._aborted.set()

    def _begin(self) -> None:
        """What holds for one opening starts anew."""
        self._await_key_since_s: float | None = None  # of the damage, as :meth:`_stream_s` tells it
        self._size = (0, 0)
        self._display = AS_DECODED
        self._index = self._timed_frames = 0
        self._first_s = self._last_s = 0.0  # media time of the first and the last frame
        self._by_arrival = False
        self._shift_s = 0.0  # of a recording: media time less PTS
        self._begin_time_line()

    def _begin_opening(self) -> None:
        self.call = ("opening", time.monotonic() + 2 * self._camera.stream.open_timeout_s)

    def _begin_time_line(self) -> None:
        self._clock.restart()
        self._gate.restart()
        if self._played is not None:
            self._clock.go_on(*self._played)
        self._play_start_s: float | None = None

    def _receive(self) -> Iterator[Packet[VideoStream]]:
        """Packets of the video as they come, those of the sound handed on; ends at the end of the stream."""
        if self._container is None:
            raise SourceUnusable("the source is not open")
        stall_s = self._camera.stream.stall_timeout_s
        started_s = self._picture_s = time.monotonic()
        packets: Iterator[Packet[Any]] = self._container.demux(
            self._stream, *([self._sound] if self._sound else [])
        )
        while not self._aborted.is_set():
            self.call = ("reading", time.monotonic() + stall_s)
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                raise demux.read_error(error, stall_s) from error
            finally:
                self.call = None
            if packet is None:
                return
            now = time.monotonic()
            self.receive_s = now - started_s
            if not self.recorded and self.receive_s >= stall_s:
                # FFmpeg timed out, and gives what its parser still held before it says so; or it is sound.
                raise SourceStalled(f"nothing came for {self.receive_s:.1f} s")
            if packet.stream is self._sound:
                self._hand_on(packet, now, demux.camera_time(packet))
                continue
            self.waited_s += self.receive_s
            if packet.size:
                self.packets += 1
                patience_s = STALLS_WITHOUT_PICTURE * stall_s
                if not self.recorded and now - self._picture_s > patience_s:  # a change of codec, perhaps
                    raise SourceStalled(f"packets come, but no picture could be decoded for {patience_s:g} s")
            yield packet
            started_s = time.monotonic()

    def _find_sound(self, container: InputContainer) -> AudioStream | None:
        """The sound that is handed on with the video."""
        if not self._camera.wants_sound or not self.packet_observers:
            return None
        sound, why_not = sound_of(container)
        if why_not:
            self._warnings.warn_once(f"camera {self._camera.name}: clips have no sound: {why_not}")
        return sound

    def _hand_on(self, packet: Packet[Any], received_s: float, camera_time: float | None) -> None:
        """Show the packet to its observers, on the time line of the frames."""
        stream = self._coded_stream
        if packet.stream is self._sound and stream is not None:
            stream = stream.sound
        if stream is None or not packet.size:
            return
        if (coded := CodedPacket.of(packet, stream, received_s, camera_time)) is None:
            return
        coded = coded.at(received_s) if self._by_arrival else coded.later(self._shift_s)
        for observer in self.packet_observers:
            try:
                observer.packet(coded)
            except Exception as error:  # noqa: BLE001  a fault of its own: the camera goes on without it
                self.leave_out(observer)
                self.failed_observers.append((observer, error))

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """Frames that come out when ``packet`` goes in."""
        started_s = time.perf_counter()
        frames: list[VideoFrame] = []
        self.call = ("decoding", time.monotonic() + DECODE_S)
        try:
            frames = packet.decode()
        except av.EOFError:
            pass  # the decoder had been emptied already
        except av.FFmpegError:
            self._count_damage()
        self.call = None
        if packet.is_corrupt:
            self._count_damage()
        self.decode_s = time.perf_counter() - started_s
        return frames

    def _timed(self, frame: VideoFrame) -> Frame | None:
        """The frame with its times; None when it is damaged, stray, or not due."""
        if not self._is_sound(frame):
            return None
        arrival = frame.opaque  # not every decoder carries it through
        received_s, camera_time, coded_end = (
            arrival if isinstance(arrival, tuple) else (time.monotonic(), None, b"")
        )
        media_s = self._media_s(frame, received_s)
        if media_s is None:
            self.stray_frames += 1
            return None
        self._first_s, self._last_s = self._first_s if self._timed_frames else media_s, media_s
        self._timed_frames += 1
        self._keys_seen += bool(frame.key_frame)
        if frame.key_frame or (frame.width, frame.height) != self._size:
            self._look(frame)
        if not self._gate.passes(media_s):
            self.gate_skipped += 1
            return None
        if self._played is not None and media_s <= self._played[0]:
            self._index += 1
            return None
        if self._paced:  # a file's frame is held back until it is due
            now = time.monotonic()
            if self._play_start_s is None:
                self._play_start_s = now - media_s
            early_s = max(0.0, self._play_start_s + media_s - now)
            self._aborted.wait(early_s)
            self.waited_s += early_s
        if self.recorded:
            capture_time, clock_source = self._clock.stamp_recorded(media_s)
        elif self._by_arrival:
            capture_time, clock_source = self._clock.stamp_arrival(received_s)
        else:
            capture_time, clock_source = self._clock.stamp_live(media_s, received_s, camera_time)
        self._index += 1
        return Frame(
            picture=self.decoder.picture(frame, self._display),
            index=self._index - 1,
            media_s=media_s,
            capture_time=capture_time,
            clock_source=clock_source,
            received_s=time.monotonic() if self.recorded else received_s,
            decode_s=self.decode_s,
            coded_end=coded_end,
            keys_seen=self._keys_seen,
        )

    def _media_s(self, frame: VideoFrame, received_s: float) -> float | None:
        """The frame's media time, that of arrival where there is none to believe; None for a stray."""
        if self.recorded:
            dts = frame.dts
            dts_s = None if dts is None or frame.time_base is None else float(dts * frame.time_base)
            media_s = self._recorded_times.next(frame.time, dts_s)
            self._shift_s = 0.0 if frame.time is None else media_s - frame.time
            return media_s
        step = self._timeline.step(frame.time, received_s)
        by_arrival = step is PtsStep.UNTIMED
        if by_arrival and not self._arrival_said:
            self._arrival_said = True
            log.warning("camera %s: %s; arrival is taken", self._camera.name, self._timeline.problem)
        if step is PtsStep.JUMP or by_arrival != self._by_arrival:
            self._by_arrival = by_arrival
            self._begin_time_line()
        return received_s if by_arrival else None if step is PtsStep.STRAY else frame.time

    def _look(self, frame: VideoFrame) -> None:
        """Take note of how the picture is to be shown; a stream may change that where a key frame is."""
        self._size = (frame.width, frame.height)
        demux.check_size(*self._size)
        self._display = display_of(frame, self._own_aspect or demux.pixel_aspect(self._stream))

    def _is_sound(self, frame: VideoFrame) -> bool:
        """Whether no damage shows in the frame: neither its own nor that of a frame it was made from."""
        if frame.is_corrupt:
            self._count_damage()
            return False
        since_s = self._await_key_since_s
        if since_s is not None and not frame.key_frame and self._stream_s() - since_s < AWAIT_KEY_S:
            return False
        self._await_key_since_s = None
        self._picture_s = time.monotonic()
        return True

    def _stream_s(self) -> float:
        """Seconds on a clock that runs as the stream does: a recording's runs with its packets."""
        return self.packets * self._period_s if self.recorded else time.monotonic()

    def _count_damage(self) -> None:
        self.decode_errors += 1
        self._await_key_since_s = self._stream_s()
        self._unlogged_errors += 1
        self._warn_of_damage()

    def _warn_of_missing_end(self) -> None:
        """A recording that was cut off, or is damaged, is not taken for a whole one."""
        seen_s = self._last_s - min(self._first_s, 0)  # from 0 on, as Matroska tells its length
        if self.recorded and seen_s < MIN_SEEN_SHARE * self._written_s - 1:
            text = "camera %s: of the file's %.0f s only %.0f could be read; is it cut off or damaged?"
            log.warning(text, self._camera.name, self._written_s, seen_s)

    def _warn_of_damage(self, *, at_once: bool = False) -> None:
        """One line a second at most, however many errors there are."""
        now = time.monotonic()
        if self._unlogged_errors and (at_once or now - self._warned_s >= WARN_EVERY_S):
            log.warning("camera %s: %d damaged packets", self._camera.name, self._unlogged_errors)
            self._warned_s, self._unlogged_errors = now, 0
