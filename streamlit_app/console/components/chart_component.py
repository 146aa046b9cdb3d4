"""Shows a chart of :mod:`console.charts`: drawn in the page itself, in one shape for each look.

Vega-Lite, which Streamlit has charts by, took a page half a second longer: it loads and runs two more
scripts, and its marks are an element each. By keyboard, and for screen readers, a chart here is a slider over
what it tells.
"""

from collections.abc import Callable

import streamlit as st

from console.charts import Chart
from console.components.own_component import own_component

_HTML = '<div class="chart"><div class="lows"></div><div class="plot"></div><div class="below"></div></div>'


def show_chart(chart: Chart, label: str, *, key: str, on_pick: Callable[[float], None] | None = None) -> None:
    """A chart, with what it shows in words.

    Args:
        chart: what is drawn.
        label: what it shows; what it tells of a place comes after it.
        key: of the widget.
        on_pick: is told where a place that was pressed begins; without it nothing can be pressed.
    """

    def picked() -> None:
        begin = st.session_state[key].pick
        if on_pick is not None and begin is not None:
            on_pick(begin)

    data = {**chart.data(), "label": label, "picks": on_pick is not None}
    show = own_component("chart", _HTML, "chart.css", "elements.js")
    show(data=data, key=key, on_pick_change=picked)
