"""The operator console's pages: read-only on the database."""

import streamlit as st

from console import counts, events, overview, theme, timing
from console.session import choose_viewer, console_options, open_database
from sightline.errors import ConfigError

PAGES = (
    (overview.show, "Overview", ":material/grid_view:", ""),
    (counts.show, "Counts", ":material/bar_chart:", "counts"),
    (events.show, "Events", ":material/timeline:", "events"),
    (timing.show, "Profile", ":material/speed:", "profile"),
)


def main() -> None:
    """Choose the page, show it, refresh it."""
    st.set_page_config(page_title="Sightline", page_icon=theme.ICON, layout="wide")
    theme.keep_choices()
    shows = {title: show for show, title, _, _ in PAGES}
    pages = [
        st.Page(show, title=title, icon=icon, url_path=path or None, default=not path)  # type: ignore[arg-type]
        for show, title, icon, path in PAGES
    ]
    chosen = st.navigation(pages, position="top")
    st.html(theme.STYLE)
    try:
        url, recording = console_options()
        database = open_database(url)
    except ConfigError as error:
        theme.state("The configuration cannot be used.", f"Correct it and reload this page: {error}.")
        return
    # Called here and not by chosen.run(), the page keeps the state of these widgets when another is chosen.
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.html(f'<h1 class="sl-title"><span>Sightline</span> {chosen.title}</h1>')
        viewer = choose_viewer(database, recording)
    theme.live(shows[chosen.title], viewer)


main()
