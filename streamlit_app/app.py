"""The operator console: a program of its own, read-only on the database.

Run: ``SIGHTLINE_DATABASE_URL=… streamlit run streamlit_app/app.py``, or with ``-- --config config.yml``.
"""

from __future__ import annotations

import streamlit as st

from console import counts, events, look, overview, timing
from console.session import choose_view, find_database
from sightline.errors import ConfigError

PAGES = (
    (overview.show, "Overview", ":material/grid_view:", ""),
    (counts.show, "Counts", ":material/bar_chart:", "counts"),
    (events.show, "Events", ":material/timeline:", "events"),
    (timing.show, "Profile", ":material/speed:", "profile"),
)


def main() -> None:
    """Choose the page, show it, refresh it."""
    st.set_page_config(page_title="Sightline", page_icon=look.ICON, layout="wide")
    look.keep_choices()
    shows = {title: show for show, title, _, _ in PAGES}
    pages = [
        st.Page(show, title=title, icon=icon, url_path=path or None, default=not path)
        for show, title, icon, path in PAGES
    ]
    chosen = st.navigation(pages, position="top")
    st.html(look.STYLE)
    database = find_database()
    if isinstance(database, ConfigError):
        look.state("The configuration cannot be used.", f"Correct it and reload this page: {database}.")
        return
    # Its function is called here, not by chosen.run(): so these choices outlive a change of page.
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.html(look.title(chosen.title))
        view = choose_view(database)
    look.live(shows[chosen.title], view)


main()
