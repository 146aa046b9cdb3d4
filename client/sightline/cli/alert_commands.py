"""``sightline alerts``: which alerts there are, what people say of them, and whether a route works."""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sightline.base.network_cures import cure_for
from sightline.base.redact import harmless
from sightline.cli.parsers import add_command, add_config_option, add_group, parse_number, require_name
from sightline.cli.running_program import ask_running
from sightline.config import load_outline
from sightline.config.groups import DatabaseOptions
from sightline.entities import Alert, AlertState, Mute
from sightline.errors import SightlineError

if TYPE_CHECKING:
    from sightline.store.read.open_alerts import OpenAlerts

DAY_S = 86_400.0
_OPEN = (AlertState.WAITING, AlertState.NEW, AlertState.ACKNOWLEDGED)
_SHORT = 8  # characters of an id, which are enough to name one


def add_to(commands: Any) -> None:
    """Add the commands to the parser's subcommands."""
    parts = add_group(
        commands, "alerts", "which alerts there are, what is said of them, and whether routes work"
    )
    add = add_config_option(add_command(parts, _list)).add_argument
    add("--all", action="store_true", help="also those of the last day that are closed")
    add("--json", action="store_true", help="print JSON")
    add_config_option(add_command(parts, _mutes))
    words: tuple[tuple[Callable[[argparse.Namespace], None], str], ...] = (
        (_ack, "acknowledged"),
        (_resolve, "resolved"),
        (_false, "false_alarm"),
    )
    for command, state in words:
        parser = add_config_option(add_command(parts, command))
        parser.set_defaults(state=state)
        parser.add_argument("alerts", nargs="+", metavar="ID", help="its first characters will do")
        parser.add_argument("--comment", type=harmless, default="", help="for those who look at it later")
    for command in (_mute, _unmute):
        parser = add_config_option(add_command(parts, command))
        parser.add_argument("--camera", default="", help="only its alerts")
        parser.add_argument("--rule", default="", help="only alerts of this rule")
        parser.add_argument("--all", action="store_true", help="all alerts")
        if command is _mute:
            parser.add_argument(
                "--hours", type=parse_number(24 * 366), default=1.0, help="for so long (default: %(default)g)"
            )
    add_config_option(add_command(parts, _test)).add_argument("route", metavar="ROUTE", help="its name")


def _list(arguments: argparse.Namespace) -> None:
    """List the alerts that are open, newest first."""
    alerts = _known(arguments, "list", lambda stored: reversed(stored.alerts))
    if not arguments.all:
        alerts = [alert for alert in alerts if alert["state"] in _OPEN]
    if arguments.json:
        print(json.dumps(alerts, indent=2))
        return
    row = "{:8} {:12} {:8} {:20} {:20} {:32} {:>5} {}"
    print(row.format("id", "state", "severity", "since (UTC)", "rule", "what", "times", "by"))
    for alert in alerts:
        since = datetime.fromtimestamp(alert["event_time"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        where = alert["source"] or "the program"
        what = " ".join(filter(None, (alert["kind"], alert["place"], "at", where)))
        state = f"{alert['state']}{' (muted)' if alert['muted'] else ''}"
        untold = f"not told by {', '.join(alert['failed_routes'])}" if alert["failed_routes"] else ""
        comment = " ".join(harmless(alert["comment"]).split())
        who = "; ".join(filter(None, (": ".join(filter(None, (alert["who"], comment))), untold)))
        short = alert["alert_id"][:_SHORT]
        print(
            row.format(
                short, state, alert["severity"], since, alert["rule"], what, alert["count"], who
            ).rstrip()
        )


def _mutes(arguments: argparse.Namespace) -> None:
    """List what is muted, and until when."""

    def that_hold(stored: "OpenAlerts") -> Iterable[Mute]:
        held = (mute for mute in stored.mutes if mute.until > time.time())
        return sorted(held, key=lambda mute: -mute.until)

    lines = [_mute_line(mute) for mute in _known(arguments, "mutes", that_hold)]
    print("\n".join(lines or ["nothing is muted"]))


def _known(
    arguments: argparse.Namespace, command: str, pick: Callable[["OpenAlerts"], Iterable[Alert | Mute]]
) -> list[dict[str, Any]]:
    """What the running program says, or else the database."""
    from sightline.supervisor.control_socket import ask, socket_folder

    try:
        answer: list[dict[str, Any]] = ask(socket_folder(load_outline(arguments.config).database), command)
    except (FileNotFoundError, ConnectionRefusedError):
        answer = [asdict(row) for row in pick(_stored(load_outline(arguments.config, "url").database))]
        print("nothing runs; this is what the database says", file=sys.stderr)
    return answer


def _stored(options: DatabaseOptions) -> "OpenAlerts":
    from sightline.store.read.open_alerts import read_open_alerts
    from sightline.store.read.readonly import Database, DatabaseState

    with closing(Database(options.url.get_secret_value())) as database:
        condition = database.condition()
        if condition.state is not DatabaseState.READY:
            raise SightlineError(f"{condition.problem} {condition.remedy}")
        with database.reading() as connection:
            return read_open_alerts(connection, None, time.time() - DAY_S)


def _ack(arguments: argparse.Namespace) -> None:
    """Say that somebody sees to an alert: it is not escalated."""
    _set_state(arguments)


def _resolve(arguments: argparse.Namespace) -> None:
    """Say that an alert is over."""
    _set_state(arguments)


def _false(arguments: argparse.Namespace) -> None:
    """Say that an alert was a false alarm."""
    _set_state(arguments)


def _set_state(arguments: argparse.Namespace) -> None:
    config = load_outline(arguments.config)
    for start in arguments.alerts:
        values = {"alert": start, "state": arguments.state, "who": getpass.getuser()}
        alert = ask_running(config, "set_state", **values, comment=arguments.comment)
        print(f"{alert['alert_id'][:_SHORT]}: {alert['state']}")


def _mute(arguments: argparse.Namespace) -> None:
    """Tell nobody of a camera's alerts, or a rule's, for some hours; they are listed all the same."""
    _put_mute(arguments, time.time() + arguments.hours * 3600)


def _unmute(arguments: argparse.Namespace) -> None:
    """Tell people of alerts again."""
    _put_mute(arguments, 0.0)


def _put_mute(arguments: argparse.Namespace, until: float) -> None:
    camera, rule = arguments.camera, arguments.rule
    if bool(camera or rule) == arguments.all:
        raise SightlineError("say which: --camera, --rule or both of them, or --all")
    config = load_outline(arguments.config)
    if camera:
        require_name("camera", camera, config.cameras)
    if rule:
        require_name("rule", rule, config.rules)
    mute = {"source": camera, "rule": rule, "until": until, "who": getpass.getuser()}
    others = ask_running(config, "mute", camera=camera, rule=rule, until=until, who=mute["who"])
    if until:
        print(_mute_line(mute))
    elif not others:
        print(f"{_muted(mute)}: no longer muted")
    else:
        print(f"{_muted(mute)}: this mute is lifted; of its alerts are still muted by others:")
        print("\n".join(f"  {_mute_line(other)}" for other in others))


def _muted(mute: Mapping[str, Any]) -> str:
    names = (f"{what} {mute[key]}" for what, key in (("rule", "rule"), ("camera", "source")) if mute[key])
    return " of ".join(names) or "all"


def _mute_line(mute: Mapping[str, Any]) -> str:
    end = datetime.fromtimestamp(mute["until"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{_muted(mute)}: muted until {end} by {mute['who']}"


def _test(arguments: argparse.Namespace) -> None:
    """Send a test by a route, on the road of every alert, and say what came of it."""
    config = load_outline(arguments.config)
    require_name("route", arguments.route, config.routes)
    problem = ask_running(config, "test", route=arguments.route)
    if problem:
        raise SightlineError(f"route {arguments.route}: {problem}; {cure_for(problem)}")
    print(f"route {arguments.route}: the other side has taken the test")
