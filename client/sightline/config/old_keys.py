"""The flat keys of the first release, accepted with a warning until the next one."""

from __future__ import annotations

#: By old key: group and key that hold its value now.
NEW_KEYS = {
    "model": ("detect", "model"),
    "fps": ("stream", "fps"),
    "classes": ("count", "classes"),
    "min_score": ("detect", "min_score"),
    "second_box_overlap": ("detect", "dedupe_iou"),
    "window_s": ("count", "window_s"),
    "confirm_s": ("track", "confirm_s"),
    "lost_s": ("track", "max_lost_s"),
    "blind_s": ("track", "max_gap_s"),
    "rtsp_transport": ("stream", "rtsp_transport"),
    "verify_tls": ("stream", "verify_tls"),
    "tls_ca_file": ("stream", "tls_ca_file"),
    "open_timeout_s": ("stream", "open_timeout_s"),
    "stall_timeout_s": ("stream", "stall_timeout_s"),
    "skip_non_reference": ("stream", "skip_non_reference"),
    "hardware_decoder": ("stream", "hardware_decoder"),
    "max_clock_skew_s": ("stream", "max_clock_skew_s"),
    "keep_tracks": ("track_log", "folder"),
    "keep_tracks_max_bytes": ("track_log", "max_bytes"),
    "time_code": ("track_log", "time_code"),
    "lines": ("rules", "lines"),
    "zones": ("rules", "zones"),
}
#: Keys that mean something without a value; any other such key counts as not written.
NULLABLE = {"model", "fps", "classes", "tls_ca_file", "hardware_decoder", "keep_tracks", "url", "sub_url"}
