"""Wall displays: browsers that show pictures alone, by the link of a token that may do nothing else."""

import time
from dataclasses import dataclass
from functools import partial

from pydantic import Field
from starlette.responses import JSONResponse, Response

from sightline.access.rights import Right
from sightline.access.tokens import Tokens
from sightline.entities import CameraState
from sightline.store.read.queries import is_stale
from sightline.supervisor.control import Control
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken
from sightline.supervisor.http.sign_in_pages import keep_secret, page_file, shown
from sightline.supervisor.supervisor import Supervisor

KEPT_S = 400 * 86_400  # by a browser, which keeps no cookie for longer
WALL_PAGE = "/live/pages/wall"


class WallLink(Taken):
    """The token of the link."""

    link: str = Field(max_length=1024)


@dataclass(frozen=True, slots=True)
class WallCamera:
    """A camera as a wall shows it."""

    name: str
    groups: tuple[str, ...]  # of the configuration
    state: str  # of the camera; "silent": nothing is heard of it
    live: bool  # its picture is of now
    last_frame_time: float | None


class WallApi:
    """What stands on a wall beside the pictures, and the page that shows both.

    Args:
        supervisor: whose cameras they are.
        control: of the configuration: it has their groups.
    """

    def __init__(self, supervisor: Supervisor, control: Control) -> None:
        self._supervisor, self._control = supervisor, control

    def endpoints(self) -> list[Endpoint]:
        """All of them; the page's are for everybody, since there is nothing in it yet."""
        file = partial(page_file, what="A part of that page.")
        cameras, scripts = list[WallCamera], "elements.js pictures.js tiles.js wall.js"
        return [
            Endpoint("GET", "/api/v1/wall", Right.SEE_WALL, self._cameras, each=True, gives=cameras),
            page_file(WALL_PAGE, "wall.html", "text/html", "The page of a wall display."),
            file(f"{WALL_PAGE}.js", scripts, "text/javascript"),
            file(f"{WALL_PAGE}.css", "tiles.css wall.css", "text/css"),
        ]

    def _cameras(self, call: Call) -> list[WallCamera]:
        """The cameras that one sees, by name: their groups, and which of them are online."""
        now, options = time.time(), self._control.config.cameras
        cameras = []
        for status in self._supervisor.statuses():
            name, is_silent = status.source, is_stale(status, now)
            if call.sees(name):
                groups = options[name].groups if name in options else ()
                state = "silent" if is_silent else status.state.value
                live = status.state is CameraState.ONLINE and not is_silent
                cameras.append(WallCamera(name, groups, state, live, status.last_frame_time))
        return sorted(cameras, key=lambda camera: camera.name)


class WallDoor:
    """Makes a browser a wall display.

    Args:
        tokens: of displays.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def endpoints(self) -> list[Endpoint]:
        """The link's page, and what that asks for."""
        what = "A part of the page at which people sign in."
        post = partial(Endpoint, "POST", "/auth/wall", Right.SIGN_IN, media="application/json")
        return [
            page_file("/auth/wall", "sign_in.html", "text/html", what),
            post(handler=self._admit, takes=WallLink),
        ]

    def _admit(self, call: Call) -> Response:
        """Make a browser a wall display, by the token in its link."""
        person = self._tokens.admit(call.taken.link, call.caller.address)
        answer = JSONResponse({"person": shown(person)})
        keep_secret(answer, call.connection, call.taken.link, KEPT_S)
        return answer
