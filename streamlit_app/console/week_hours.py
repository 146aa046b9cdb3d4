"""Hours of the week, as a rule of alerts has them: in words, and drawn."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

from console.texts import WEEKDAYS, safe
from sightline.config.alerts import DAY_MIN, Day, Hours

DAY_NAMES = dict(zip(Day, WEEKDAYS, strict=True))
_WORKING = (Day.MON, Day.TUE, Day.WED, Day.THU, Day.FRI)
_STEP_MIN = 15  # of what is drawn
_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


def clock_of(minutes: int) -> str:
    """HH:MM of minutes since midnight."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def hours_as_written(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Hours of the API's answer as the file has them."""
    if given is None:
        return None
    days = {"days": list(given["days"])} if given["days"] else {}
    return {**days, "begin": clock_of(given["begin"]), "end": clock_of(given["end"])}


def hours_of(written: Mapping[str, Any]) -> Hours:
    """Hours as the file has them."""
    return Hours.model_validate(dict(written))


def hours_in_words(hours: Hours) -> str:
    """Such as: on Saturday and Sunday from 22:00 to 06:00 of the next day."""
    days = f"on {_days_in_words(hours.days)}" if hours.days else "every day"
    if (hours.begin, hours.end) == (0, DAY_MIN):
        return f"{days}, all day"
    later = "" if hours.begin < hours.end else " of the next day"
    return f"{days} from {clock_of(hours.begin)} to {clock_of(hours.end)}{later}"


def _days_in_words(days: Sequence[Day]) -> str:
    in_order = tuple(day for day in Day if day in days)
    if in_order == _WORKING:
        return "Monday to Friday"
    *first, last = (DAY_NAMES[day] for day in in_order)
    return f"{', '.join(first)} and {last}" if first else last


def next_time(hours: Hours, now: float, zone: tzinfo) -> tuple[datetime, datetime | None] | None:
    """From when to when they hold next, or now; until None: always. None: they never hold."""
    today = datetime.fromtimestamp(now, zone).date()
    moments = sorted(
        datetime.combine(today + timedelta(days=days), time(minutes // 60 % 24, minutes % 60), zone)
        + timedelta(days=minutes // DAY_MIN)
        for days in range(-8, 9)
        for minutes in {0, hours.begin, hours.end}
    )
    begun: datetime | None = None
    for moment in moments:
        holds = hours.holds(moment.timestamp(), zone)
        if holds and begun is None:
            begun = moment
        elif not holds and begun is not None:
            if moment.timestamp() > now:
                return begun, moment
            begun = None
    return None if begun is None else (begun, None)


def example_of(hours: Hours, now: float, zone: tzinfo) -> str:
    """When it is silent next, in a sentence."""
    found = next_time(hours, now, zone)
    if found is None:
        return "These hours never come."
    begin, end = found
    if end is None:
        return "It is always silent."
    form = "%A, %-d %B, %H:%M"
    if begin.timestamp() <= now:
        return f"It is silent now, until {end.strftime(form)}."
    return f"It is silent next from {begin.strftime(form)} until {end.strftime(form)}."


def week_grid(rows: Iterable[tuple[str, Hours | None]]) -> str:
    """A line for each name with the seven days, dark where its hours hold; HTML."""
    head = "".join(f"<b>{name[:2]}</b>" for name in DAY_NAMES.values())
    lines = [
        f'<div class="sl-week-line" aria-hidden="true"><span></span><div class="days">{head}</div></div>'
    ]
    for name, hours in rows:
        told = "never" if hours is None else hours_in_words(hours)
        bars = "".join(f"<div>{_bars(hours, day)}</div>" for day in range(7))
        lines.append(
            f'<div class="sl-week-line"><span>{safe(name)}</span>'
            f'<div class="days" role="img" aria-label="{safe(f"{name}: silent {told}")}">{bars}</div></div>'
        )
    return f'<div class="sl-week">{"".join(lines)}</div>'


def _bars(hours: Hours | None, day: int) -> str:
    """Those of one day, in shares of its width."""
    if hours is None:
        return ""
    start, bars, begun = _MONDAY + timedelta(days=7 + day), [], -1
    for minutes in range(0, DAY_MIN + _STEP_MIN, _STEP_MIN):
        holds = minutes < DAY_MIN and hours.holds((start + timedelta(minutes=minutes)).timestamp(), UTC)
        if holds and begun < 0:
            begun = minutes
        elif not holds and begun >= 0:
            left, width = begun / DAY_MIN, (minutes - begun) / DAY_MIN
            bars.append(f'<i style="left:{left:.2%};width:{width:.2%}"></i>')
            begun = -1
    return "".join(bars)
