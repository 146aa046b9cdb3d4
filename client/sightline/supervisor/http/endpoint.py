"""One route of the HTTP port: its address, the right that it asks for, what it takes, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from sightline.access.rights import Caller, Right, allowed
from sightline.base.redact import harmless
from sightline.store.read.seen import Cameras

WEBSOCKET = "WEBSOCKET"
MAX_BODY_BYTES = 1 << 16
JSON_TYPE = "application/json"
FreeText = Annotated[str, AfterValidator(harmless)]  # what somebody writes for others to read
LAST = 253_402_300_799.0  # of the year 9999: the last moment that a database takes


class _RowNumber(Convertor[int]):
    """As ``int``, but never longer than a database's: Python refuses those of thousands of digits."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("row", _RowNumber())


class Taken(BaseModel):
    """Base of what endpoints take: of a GET or a WebSocket in the query, else as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A request of somebody who may make it."""

    connection: HTTPConnection
    caller: Caller
    right: Right
    taken: Any  # as the endpoint's ``takes``
    camera: str | None  # that it is about

    @property
    def cameras(self) -> Cameras:
        """The cameras that the sender sees, for queries; None: all, and the program itself."""
        return frozenset() if self.caller.person is None else self.caller.person.cameras

    def sees(self, camera: str | None) -> bool:
        """Whether the answer may tell of a camera, or (None) of the program and all cameras at once."""
        return self.may(self.right, camera)

    def may(self, right: Right, camera: str | None = None) -> bool:
        """Whether the sender may do something else as well."""
        return allowed(self.caller.person, right, camera)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route.

    Attributes:
        method: GET, POST, PUT, DELETE or :data:`WEBSOCKET`.
        path: as Starlette writes it, its parameters in braces.
        right: what one must be allowed to do; it is asked before ``handler`` is called.
        handler: gives the answer: a Starlette response, or what is of the type ``gives``. A plain function
            runs in a thread and may block; a coroutine function must not. Of a WebSocket it is one.
        camera: the path's parameter that names the camera the right is asked for, or a function of the call
            that finds the camera ("": all); None: the right is asked of the program as a whole.
        each: of all cameras that somebody sees: who has the right for some is let in, and the handler asks
            :meth:`Call.sees` for each.
        takes: what is checked and given to the handler; None: nothing is taken.
        gives: the type of the answer, as JSON.
        media: the answer's type where it is no JSON.
        sent: the type of what is sent; of what is no JSON, ``takes`` gets the ``text``.
        versioned: it changes what has a version, which has to be named in ``If-Match``.
        max_body: bytes.
        long: the answer may take as long as the client reads on.
    """

    method: str
    path: str
    right: Right
    handler: Callable[..., Any]
    camera: str | Callable[[Call], str] | None = None
    each: bool = False
    takes: type[Taken] | None = None
    gives: Any = None
    media: str = ""
    sent: str = JSON_TYPE
    versioned: bool = False
    max_body: int = MAX_BODY_BYTES
    long: bool = False

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]


def not_there(what: str) -> HTTPException:
    """The answer where there is nothing of that name."""
    return HTTPException(404, f"there is no {what}")


def not_seen(camera: str) -> HTTPException:
    """The answer to whoever asks for a camera that they do not see, whether or not there is one."""
    return HTTPException(403, f"camera {camera!r} is not one of those that you see")
