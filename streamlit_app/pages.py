"""What a browser of the console runs: who looks, which page, and that page."""

import streamlit as st

from console import theme
from console.api import Api, SupervisorAway
from console.console_options import console_options
from console.pages import PAGES, review_page
from console.session import choose_viewer, sees_details
from console.texts import NOT_YOURS, NOT_YOURS_REMEDY
from console.viewer import api_of_browser
from sightline.access.rights import allowed_for_some
from sightline.entities import Role
from sightline.errors import ConfigError

#: Nothing of a person's is in it; the page itself comes back from the sign-in.
_TO_SIGN_IN = """<script>
location.assign("/auth/sign-in?ended=1&next=" + encodeURIComponent(location.pathname + location.search));
</script>"""


def main() -> None:
    """Choose the page and show it to whoever is signed in."""
    st.set_page_config(page_title="Sightline", page_icon=theme.ICON, layout="wide")
    st.html(theme.STYLE)
    try:
        options = console_options()
        api = api_of_browser(options.supervisor)
        person = api.person()
    except ConfigError as error:
        theme.state("The configuration cannot be used.", f"Correct it and reload this page: {error}.")
        return
    except SupervisorAway as error:
        _wait_for_supervisor(api, error)
        return
    if person is None or person.must_change or person.role is Role.DISPLAY:
        st.html(_TO_SIGN_IN, unsafe_allow_javascript=True)
        return
    theme.keep_choices()
    engineer = sees_details(person)
    shown = {
        page: st.Page(
            lambda: None,
            title=page.title,
            icon=page.icon,
            url_path=page.path or None,
            default=not page.path,
            visibility="visible"
            if allowed_for_some(person, page.right) and (engineer or not page.engineers)
            else "hidden",
        )
        for page in PAGES
    }
    chosen = st.navigation(list(shown.values()), position="top")
    page = next(page for page, shown_page in shown.items() if shown_page.title == chosen.title)
    # Called here and not by chosen.run(), a page keeps the state of its widgets when another is chosen.
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.html(f'<h1 class="sl-title"><span>Sightline</span> {page.title}</h1>')
        viewer = choose_viewer(person, api, options)
    review_page.show_alarm(viewer)
    if viewer.may_some(page.right):
        page.render(viewer)
    else:
        theme.state(NOT_YOURS, NOT_YOURS_REMEDY, icon="lock")


@st.fragment(run_every=5.0)
def _wait_for_supervisor(api: Api, error: SupervisorAway) -> None:
    """Say what is away, until it can be told who looks."""
    try:
        api.person()
    except SupervisorAway as newest:
        error = newest
    else:
        st.rerun()
    theme.state(error.problem, error.remedy, icon="cloud_off", detail=str(error))


main()
