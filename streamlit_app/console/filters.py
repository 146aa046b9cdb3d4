"""Filters that several pages have; keys are stable, so a refresh never resets them."""

from __future__ import annotations

from datetime import datetime, timedelta
from datetime import time as clock_time

import streamlit as st

from console import ranges
from console.session import Viewer, now


def choose_range(viewer: Viewer, row: st.delta_generator.DeltaGenerator, page: str) -> ranges.Range | str:
    """The range of ``page``, or a sentence that says why it cannot be shown."""
    names = [*ranges.RANGES_S, ranges.CUSTOM]
    name = row.segmented_control("Range", names, default="1 h", key=f"{page}_range", required=True)
    if name != ranges.CUSTOM:
        return ranges.Range(ranges.RANGES_S[name])
    today = datetime.fromtimestamp(now(), viewer.zone).date()
    line = st.container(horizontal=True, gap="small")
    first = line.date_input("From", today - timedelta(days=1), key=f"{page}_from_day", width=150)
    first_time = line.time_input("at", clock_time(0, 0), key=f"{page}_from_time", width=110)
    last = line.date_input("To", today, key=f"{page}_to_day", width=150)
    last_time = line.time_input("at", clock_time(23, 59), key=f"{page}_to_time", width=110)
    return ranges.custom_range(first, first_time, last, last_time, viewer.zone)
