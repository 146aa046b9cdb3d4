"""Pictures as a player shows them: turned, mirrored, stretched; also once they lie in the network's input."""

from __future__ import annotations

import itertools
import struct

import av
import numpy as np
import pytest

from sightline.base.letterbox import letterboxed, split_i420
from sightline.entities import Frame
from sightline.errors import SourceEnded
from sightline.video.display import AS_DECODED, display_of
from sightline.video.source import Source
from support.camera_world import camera, make_clip, picture_at

TURNS = [
    (degrees, mirrored, upside_down)
    for degrees in (0, 90, 180, 270)
    for mirrored, upside_down in ((False, False), (True, False), (False, True))
]


def first(path, **options) -> Frame:
    source = Source(camera(path, **options), realtime=False)
    source.open()
    frame = next(source.frames())
    source.close()
    return frame


def luma_of(frame: Frame) -> np.ndarray:
    height, width = frame.picture.height, frame.picture.width
    out = np.empty((height * 3 // 2, width), np.uint8)
    frame.picture.write_i420(out)
    return split_i420(out)[0].astype(int)


def turned(luma: np.ndarray, degrees: int, mirrored: bool, upside_down: bool) -> np.ndarray:
    """Counter-clockwise, then mirrored: what FFmpeg means by a display rotation with flips."""
    luma = np.rot90(luma, degrees // 90)
    luma = luma[:, ::-1] if mirrored else luma
    return luma[::-1] if upside_down else luma


@pytest.mark.parametrize(("degrees", "mirrored", "upside_down"), TURNS)
def test_a_picture_is_turned_and_mirrored_as_its_display_matrix_says(
    tmp_path, degrees, mirrored, upside_down
):
    path = make_clip(tmp_path / "turned.mp4", frames=3, turn=(degrees, mirrored, upside_down))
    shown = luma_of(first(path))
    wanted = turned(picture_at(0)[:240].astype(int), degrees, mirrored, upside_down)
    assert shown.shape == wanted.shape
    assert abs(shown - wanted).mean() < 2


@pytest.mark.parametrize(("orientation", "degrees"), [(1, 0), (3, 180), (6, 270), (8, 90)])
def test_a_jpeg_camera_may_tell_of_its_turn_in_exif(tmp_path, orientation, degrees):
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x0112, 3, 1, orientation, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    path = make_clip(tmp_path / "plain.avi", frames=3, codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as clip, av.open(str(tmp_path / "exif.avi"), "w") as sink:
        stream = sink.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.size:
                bent = av.Packet(bytes(packet)[:2] + exif + bytes(packet)[2:])
                bent.pts, bent.dts, bent.time_base, bent.stream = (
                    packet.pts,
                    packet.dts,
                    packet.time_base,
                    stream,
                )
                sink.mux(bent)
    shown = luma_of(first(tmp_path / "exif.avi"))
    wanted = turned(picture_at(0)[:240].astype(int), degrees, False, False)
    assert shown.shape == wanted.shape
    assert abs(shown - wanted).mean() < 4


def test_a_clip_that_is_shown_as_it_is_costs_nothing(tmp_path):
    frame = next(av.open(str(make_clip(tmp_path / "plain.mp4", frames=1))).decode(video=0))
    assert display_of(frame, 0.0) is display_of(frame, 1.0) is AS_DECODED


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("suffix", ["mp4", "ts"])  # told by the header and the codec, and by the codec alone
@pytest.mark.parametrize(("aspect", "size"), [((2, 1), (640, 240)), ((1, 2), (320, 480))])
def test_pixels_that_are_not_square_are_shown_so(tmp_path, codec, suffix, aspect, size):
    path = make_clip(tmp_path / f"wide.{suffix}", frames=3, codec=codec, pixel_aspect=aspect)
    frame = first(path)
    assert (frame.picture.width, frame.picture.height) == size
    wanted = picture_at(0)[:240].repeat(size[0] // 320, 1).repeat(size[1] // 240, 0)
    assert abs(luma_of(frame) - wanted).mean() < 3


def test_an_option_says_what_a_recorder_omits(tmp_path):
    path = make_clip(tmp_path / "plain.mp4", frames=3)
    for option, size in ((None, (320, 240)), (2, (640, 240)), (0.5, (320, 480))):
        picture = first(path, pixel_aspect=option).picture
        assert (picture.width, picture.height) == size


def test_an_aspect_that_is_a_mistake_is_not_believed(tmp_path):
    picture = first(make_clip(tmp_path / "odd.mp4", frames=3, pixel_aspect=(100, 1))).picture
    assert (picture.width, picture.height) == (320, 240)


@pytest.mark.parametrize("degrees", [90, 270])
def test_turned_and_stretched_it_lies_in_the_networks_input_as_it_is_shown(tmp_path, degrees):
    path = make_clip(tmp_path / "both.mp4", frames=3, turn=(degrees, False, False), pixel_aspect=(2, 1))
    picture = first(path).picture
    assert (picture.width, picture.height) == (240, 640)
    slot, (left, top, width, height) = letterboxed(picture, (352, 640))
    assert (width, height) == (132, 352)
    inside = split_i420(slot)[0][top : top + height, left : left + width].astype(int)
    wanted = turned(picture_at(0)[:240].astype(int), degrees, False, False)
    rows, columns = (np.arange(352) * 320 // 352, np.arange(132) * 240 // 132)
    assert abs(inside - wanted[rows][:, columns]).mean() < 4
    assert (slot[:352, :left] == 114).all()


def test_a_copy_for_people_is_as_it_is_shown(tmp_path):
    plain = first(make_clip(tmp_path / "plain.mp4", frames=3)).picture.copy_full_range()
    path = make_clip(tmp_path / "both.mp4", frames=3, turn=(90, False, False), pixel_aspect=(2, 1))
    copied = first(path).picture.copy_full_range()
    assert copied.shape == (640 * 3 // 2, 240)
    wanted = np.rot90(plain[:240].astype(int)).repeat(2, 0)
    assert abs(copied[:640].astype(int) - wanted).mean() < 3


def test_a_broadcaster_may_change_the_shape_of_pixels_on_the_way(tmp_path):
    path = tmp_path / "both.ts"
    parts = [
        make_clip(tmp_path / f"part{n}.ts", frames=10, pixel_aspect=aspect, start_s=n)
        for n, aspect in enumerate([(1, 1), (2, 1)])
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = Source(camera(path), realtime=False)
    source.open()
    widths = []
    with pytest.raises(SourceEnded):
        for frame in source.frames():
            widths.append(frame.picture.width)
    source.close()
    assert [width for width, _ in itertools.groupby(widths)] == [320, 640]
    assert widths.count(640) == 10
