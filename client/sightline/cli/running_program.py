"""Commands to the program that runs with a configuration."""

from typing import Any

from sightline.config import ConfigOutline
from sightline.errors import SightlineError


def ask_running(config: ConfigOutline, command: str, **values: Any) -> Any:
    """What the running program answers to a command.

    Raises:
        SightlineError: nothing runs, or what is asked for cannot be done.
    """
    from sightline.supervisor.control_socket import ask, socket_folder

    try:
        return ask(socket_folder(config.database), command, **values)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise SightlineError("nothing runs with this configuration; start `sightline run`") from error
