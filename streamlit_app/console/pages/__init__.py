"""The console's pages: a module for each, with ``render``, and the table that the navigation is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from console.pages import (
    alerts_page,
    cameras_page,
    counts_page,
    events_page,
    health_page,
    live_page,
    models_page,
    overview_page,
    people_page,
    review_page,
)
from console.viewer import Viewer
from sightline.access.rights import Right


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A line of the navigation."""

    title: str
    icon: str
    path: str  # of its address; the first page's is "": it is what the bare address shows
    right: Right  # who has it for no camera at all does not see the page
    render: Callable[[Viewer], None]
    engineers: bool = False  # of the engineer's view alone


PAGES = (
    ConsolePage("Live", ":material/videocam:", "", Right.SEE_LIVE, live_page.render),
    ConsolePage("Review", ":material/notifications_active:", "review", Right.SEE_ALERTS, review_page.render),
    ConsolePage("Overview", ":material/grid_view:", "overview", Right.SEE_STATUS, overview_page.render),
    ConsolePage("Counts", ":material/bar_chart:", "counts", Right.SEE_COUNTS, counts_page.render),
    ConsolePage("Events", ":material/timeline:", "events", Right.SEE_EVENTS, events_page.render),
    ConsolePage(
        "Cameras", ":material/settings_video_camera:", "cameras", Right.SEE_CONFIG, cameras_page.render
    ),
    ConsolePage("Alerts", ":material/rule:", "alerts", Right.SEE_ALERTS, alerts_page.render),
    ConsolePage("Health", ":material/monitor_heart:", "health", Right.SEE_STATUS, health_page.render),
    ConsolePage("People", ":material/group:", "people", Right.MANAGE_PEOPLE, people_page.render),
    ConsolePage(
        "Models", ":material/deployed_code:", "models", Right.SEE_CONFIG, models_page.render, engineers=True
    ),
)
