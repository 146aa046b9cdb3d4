"""The database's tables. Migrations (``migrations/``) make them; a test holds the two against each other."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from sightline.entities import CameraState

COUNT_KEY = ("source", "item_class", "window_start", "window_end")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """TIMESTAMPTZ on Postgres; on SQLite, which has no zones, naive UTC, with the zone put back on read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse naive times: they are how hours get lost."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone must not be stored: {value}")
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give aware UTC times, whatever the database gave."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class NameSet(sa.TypeDecorator[frozenset[str]]):
    """A set of names as a JSON list; NULL: all there are."""

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: frozenset[str] | None, dialect: sa.Dialect) -> list[str] | None:
        """The same set is always the same text."""
        return None if value is None else sorted(value)

    def process_result_value(self, value: list[str] | None, dialect: sa.Dialect) -> frozenset[str] | None:
        """Give a set, whatever the list's order."""
        return None if value is None else frozenset(value)


class CountWindowRow(SQLModel, table=True):
    """Distinct confirmed tracks of one class that one source saw in one window."""

    __tablename__ = "count_windows"
    __table_args__ = (
        # Time before class: what is read is a camera's windows of a range, of whatever class.
        sa.UniqueConstraint(
            *("source", "window_start", "item_class", "window_end"),
            name="uq_count_windows_source_item_class_window",
        ),
        sa.Index("ix_count_windows_window_start", "window_start").ddl_if(dialect="postgresql"),
        # All that is summed is in it: SQLite need not look for the rows, and sums by class in its order.
        sa.Index(
            "ix_count_windows_window_start",
            *("window_start", "item_class", "source", "count", "arrivals", "coverage"),
        ).ddl_if(dialect="sqlite"),
    )

    id: uuid.UUID = Field(primary_key=True)
    source: str = Field(sa_type=sa.String(255))
    item_class: str = Field(sa_type=sa.String(100))
    count: int = Field(sa_type=sa.Integer)
    window_start: datetime = Field(sa_type=UtcDateTime)
    window_end: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    #: Of the count, those first counted in this window; None in rows of releases that did not tell.
    arrivals: int | None = Field(default=None, sa_type=sa.Integer)
    #: Of this class, where it is less than the window's, since the model lacked the class; else None.
    coverage: float | None = Field(default=None, sa_type=sa.Float)


class SourceWindowRow(SQLModel, table=True):
    """How much of one window one source really watched."""

    __tablename__ = "source_windows"
    __table_args__ = (sa.Index("ix_source_windows_window_start", "window_start"),)

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    window_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    window_end: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    coverage: float = Field(sa_type=sa.Float)
    effective_fps: float = Field(sa_type=sa.Float)
    dropped_frames: int = Field(sa_type=sa.Integer)
    clock_source: str = Field(sa_type=sa.String(16))
    model_version: str = Field(sa_type=sa.String(100))
    config_hash: str = Field(sa_type=sa.String(64))


class CameraRow(SQLModel, table=True):
    """A camera's last known status, its heartbeat, and what its worker resumes from."""

    __tablename__ = "cameras"

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    state: str = Field(default=CameraState.STARTING.value, sa_type=sa.String(32))
    message: str = Field(default="", sa_type=sa.Text)
    heartbeat: datetime = Field(default_factory=lambda: datetime.now(UTC), sa_type=UtcDateTime)
    last_frame_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    status: dict[str, Any] = Field(default_factory=dict, sa_type=sa.JSON)  # the rest of entities.CameraStatus
    resume: dict[str, Any] = Field(default_factory=dict, sa_type=sa.JSON)  # entities.Checkpoint.resume
    #: Of the newest checkpoint, microseconds since 1970 and rising even when the clock steps back.
    sequence: int = Field(default=0, sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"})


_IS_OPEN = sa.text("end_time IS NULL")


class EventRow(SQLModel, table=True):
    """Something that a rule saw; :class:`sightline.entities.Event` says what its fields mean."""

    __tablename__ = "events"
    __table_args__ = (
        sa.Index("ix_events_source_event_time", "source", "event_time"),
        sa.Index("ix_events_event_time", "event_time"),
        sa.Index("ix_events_open", "source", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        sa.Index("ix_events_change_number", "change_number"),
    )

    id: uuid.UUID = Field(primary_key=True)
    source: str = Field(sa_type=sa.String(255))
    kind: str = Field(sa_type=sa.String(32))
    place: str = Field(sa_type=sa.String(100))
    item_class: str = Field(sa_type=sa.String(100))
    track_id: int = Field(sa_type=sa.BigInteger)
    event_time: datetime = Field(sa_type=UtcDateTime)
    direction: str | None = Field(default=None, sa_type=sa.String(16))
    value: float | None = Field(default=None, sa_type=sa.Float)
    x: float | None = Field(default=None, sa_type=sa.Float)
    y: float | None = Field(default=None, sa_type=sa.Float)
    unseen: bool = Field(sa_type=sa.Boolean)
    end_time: datetime | None = Field(default=None, sa_type=UtcDateTime)  # None: it goes on
    media_s: float | None = Field(default=None, sa_type=sa.Float)
    #: UTC epoch seconds as the program has them, since the id is made of them; None in older releases' rows.
    first_time: float | None = Field(default=None, sa_type=sa.Float)
    ordinal: int | None = Field(default=None, sa_type=sa.Integer)
    confirmed_time: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    #: Of the row's newest change; see :mod:`sightline.store.read.changes`. 0 in older releases' rows.
    change_number: int = Field(default=0, sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"})


class AlertRow(SQLModel, table=True):
    """What a rule made of events; :class:`sightline.entities.Alert`."""

    __tablename__ = "alerts"
    __table_args__ = (
        sa.Index("ix_alerts_opened_time", "opened_time"),
        sa.Index("ix_alerts_change_number", "change_number"),
    )

    alert_id: str = Field(sa_type=sa.String(36), primary_key=True)
    rule: str = Field(sa_type=sa.String(100))
    source: str = Field(sa_type=sa.String(255))
    kind: str = Field(sa_type=sa.String(32))
    place: str = Field(sa_type=sa.String(100))
    item_class: str = Field(sa_type=sa.String(100))
    value: float | None = Field(default=None, sa_type=sa.Float)
    severity: str = Field(sa_type=sa.String(16))
    state: str = Field(sa_type=sa.String(16))
    event_time: datetime = Field(sa_type=UtcDateTime)
    opened_time: datetime = Field(sa_type=UtcDateTime)
    changed_time: datetime = Field(sa_type=UtcDateTime)
    end_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    count: int = Field(sa_type=sa.Integer)
    muted: bool = Field(sa_type=sa.Boolean)
    escalated: bool = Field(sa_type=sa.Boolean)
    notifications: int = Field(sa_type=sa.Integer)
    told: int = Field(sa_type=sa.Integer)
    who: str = Field(sa_type=sa.String(100))
    comment: str = Field(sa_type=sa.Text)
    events: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    open_events: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    failed_routes: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    change_number: int = Field(default=0, sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"})


class NotificationRow(SQLModel, table=True):
    """What was to be told about an alert; :class:`sightline.entities.Notification`."""

    __tablename__ = "notifications"
    __table_args__ = (sa.Index("ix_notifications_notification_time", "notification_time"),)

    alert_id: str = Field(sa_type=sa.String(36), primary_key=True)
    ordinal: int = Field(sa_type=sa.Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    transition: str = Field(sa_type=sa.String(16))
    routes: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    notification_time: datetime = Field(sa_type=UtcDateTime)
    source: str = Field(sa_type=sa.String(255))
    severity: str = Field(sa_type=sa.String(16))
    title: str = Field(sa_type=sa.Text)
    text: str = Field(sa_type=sa.Text)
    link: str = Field(sa_type=sa.Text)


class MuteRow(SQLModel, table=True):
    """Cameras and rules of which nobody is told for a while; :class:`sightline.entities.Mute`."""

    __tablename__ = "mutes"

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    rule: str = Field(sa_type=sa.String(100), primary_key=True)
    until: datetime = Field(sa_type=UtcDateTime)
    who: str = Field(sa_type=sa.String(100))


class DriftWindowRow(SQLModel, table=True):
    """Numbers of one hour of one camera and one version; :class:`sightline.entities.DriftWindow`."""

    __tablename__ = "drift_windows"
    __table_args__ = (sa.Index("ix_drift_windows_window_start", "window_start"),)

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    window_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    model_version: str = Field(sa_type=sa.String(100), primary_key=True)
    window_end: datetime = Field(sa_type=UtcDateTime)
    frames: int = Field(sa_type=sa.BigInteger)
    boxes: int = Field(sa_type=sa.BigInteger)
    pictures: int = Field(sa_type=sa.BigInteger)
    figures: dict[str, Any] = Field(default_factory=dict, sa_type=sa.JSON)


class ClockWindowRow(SQLModel, table=True):
    """An hour of a camera's clock against ours; :class:`sightline.entities.ClockWindow`."""

    __tablename__ = "clock_windows"
    __table_args__ = (sa.Index("ix_clock_windows_window_start", "window_start"),)

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    window_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    offset_s: float = Field(sa_type=sa.Float)
    drift_ppm: float | None = Field(default=None, sa_type=sa.Float)
    jitter_s: float = Field(sa_type=sa.Float)
    reports: int = Field(sa_type=sa.Integer)
    steps: int = Field(sa_type=sa.Integer)
    clock_source: str = Field(sa_type=sa.String(16))


class CameraViewRow(SQLModel, table=True):
    """Whether a camera shows what it was set up to show; :class:`sightline.entities.CameraView`."""

    __tablename__ = "camera_views"

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    state: str = Field(sa_type=sa.String(32))
    since: datetime = Field(sa_type=UtcDateTime)
    fits: bool = Field(sa_type=sa.Boolean)
    lights: dict[str, float] = Field(default_factory=dict, sa_type=sa.JSON)
    proposal: dict[str, Any] | None = Field(default=None, sa_type=sa.JSON)


class ClipRow(SQLModel, table=True):
    """The video around events; :class:`sightline.entities.Clip`."""

    __tablename__ = "clips"
    __table_args__ = (sa.Index("ix_clips_start_time", "start_time"),)

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    start_time: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    end_time: datetime = Field(sa_type=UtcDateTime)
    media_start_s: float = Field(sa_type=sa.Float)
    state: str = Field(sa_type=sa.String(16))
    path: str = Field(sa_type=sa.Text)
    thumbnail: str = Field(sa_type=sa.Text)
    codec: str = Field(sa_type=sa.String(32))
    bytes: int = Field(sa_type=sa.BigInteger)
    truncated: bool = Field(sa_type=sa.Boolean)
    events: list[str] = Field(default_factory=list, sa_type=sa.JSON)  # entities.Event.key of each
    url: str = Field(sa_type=sa.Text)
    h264_path: str = Field(sa_type=sa.Text)


class TrackPathRow(SQLModel, table=True):
    """A piece of a track's way; :class:`sightline.entities.TrackPath`."""

    __tablename__ = "track_paths"
    __table_args__ = (sa.Index("ix_track_paths_start_time", "start_time"),)

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    start_time: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    track_id: int = Field(sa_type=sa.BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    first_time: datetime = Field(sa_type=UtcDateTime)
    end_time: datetime = Field(sa_type=UtcDateTime)
    item_class: str = Field(sa_type=sa.String(100))
    score: float = Field(sa_type=sa.Float)
    points: list[list[int]] = Field(default_factory=list, sa_type=sa.JSON)
    places: list[str] = Field(default_factory=list, sa_type=sa.JSON)


class OutboxRow(SQLModel, table=True):
    """A row that one durable sink has still to be given; see :mod:`sightline.store.outbox`."""

    __tablename__ = "outbox"
    __table_args__ = (sa.Index("ix_outbox_sink_sequence", "sink", "sequence"),)

    sink: str = Field(sa_type=sa.String(100), primary_key=True)
    key: str = Field(sa_type=sa.Text, primary_key=True)  # the row's merge key
    sequence: int = Field(sa_type=sa.BigInteger)
    kind: str = Field(sa_type=sa.String(32))
    source: str = Field(sa_type=sa.String(255))
    body: dict[str, Any] = Field(sa_type=sa.JSON)  # fields of the entity
    created_at: datetime = Field(sa_type=UtcDateTime)


#: Read in the order of the primary key, a hundred thousand rows at a time.
_CLUSTERED = {"sqlite_with_rowid": False}


class CountRollupRow(SQLModel, table=True):
    """Distinct tracks of one class in an hour or a day, and those that arrived; None where not known.

    ``blind_s`` of what was watched could not show the class: the model lacked it.
    """

    __tablename__ = "count_rollups"
    __table_args__ = (
        # All that is summed is in it: hours of all cameras are read from it alone. SQLite sums by class in
        # its order, and sorts nothing; Postgres finds a camera's hours by it.
        *(
            sa.Index("ix_count_rollups_period", *names, "count", "arrivals", "blind_s").ddl_if(
                dialect=dialect
            )
            for dialect, names in (
                ("sqlite", ("period_s", "period_start", "item_class", "source")),
                ("postgresql", ("period_s", "period_start", "source", "item_class")),
            )
        ),
        _CLUSTERED,
    )

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    period_s: int = Field(sa_type=sa.Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    period_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    item_class: str = Field(sa_type=sa.String(100), primary_key=True)
    count: int | None = Field(default=None, sa_type=sa.Integer)
    arrivals: int | None = Field(default=None, sa_type=sa.Integer)
    blind_s: float = Field(default=0.0, sa_type=sa.Float, sa_column_kwargs={"server_default": "0"})


class SourceRollupRow(SQLModel, table=True):
    """How much of an hour or a day was watched, and what counted at its end; None in older releases' rows."""

    __tablename__ = "source_rollups"
    __table_args__ = (sa.Index("ix_source_rollups_period", "period_s", "period_start"), _CLUSTERED)

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    period_s: int = Field(sa_type=sa.Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    period_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    watched_s: float = Field(sa_type=sa.Float)
    dropped_frames: int = Field(sa_type=sa.BigInteger)
    longest_window_s: float = Field(sa_type=sa.Float)
    model_version: str | None = Field(default=None, sa_type=sa.String(100))
    config_hash: str | None = Field(default=None, sa_type=sa.String(64))


class EventRollupRow(SQLModel, table=True):
    """How many events of a kind began in an hour or a day; written in the transaction that writes them."""

    __tablename__ = "event_rollups"
    __table_args__ = (_CLUSTERED,)

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    period_s: int = Field(sa_type=sa.Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    period_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    kind: str = Field(sa_type=sa.String(32), primary_key=True)
    place: str = Field(sa_type=sa.String(100), primary_key=True)
    direction: str = Field(sa_type=sa.String(16), primary_key=True)  # empty: it has none
    item_class: str = Field(sa_type=sa.String(100), primary_key=True)
    count: int = Field(sa_type=sa.Integer)


class StaleRollupRow(SQLModel, table=True):
    """An hour or a day with windows written since it was summed; see :mod:`sightline.store.rollups`."""

    __tablename__ = "stale_rollups"

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    period_s: int = Field(sa_type=sa.Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    period_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    period_end: datetime = Field(sa_type=UtcDateTime)


class AccountRow(SQLModel, table=True):
    """A person; :class:`sightline.store.access_store.Account`."""

    __tablename__ = "accounts"
    __table_args__ = (sa.UniqueConstraint("subject", name="uq_accounts_subject"),)

    account: str = Field(sa_type=sa.String(255), primary_key=True)  # the name without its capitals
    name: str = Field(sa_type=sa.String(100))
    role: str = Field(sa_type=sa.String(16))
    cameras: frozenset[str] | None = Field(default=None, sa_type=NameSet)
    subject: str | None = Field(default=None, sa_type=sa.String(512))
    password_hash: str = Field(sa_type=sa.String(255))
    enabled: bool = Field(sa_type=sa.Boolean)
    must_change: bool = Field(sa_type=sa.Boolean)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failures: int = Field(sa_type=sa.Integer)
    locked_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    revision: int = Field(sa_type=sa.Integer)


class SignInRow(SQLModel, table=True):
    """One sign-in of a person; :class:`sightline.store.access_store.SignIn`."""

    __tablename__ = "sign_ins"
    __table_args__ = (
        sa.Index("ix_sign_ins_account", "account"),
        sa.Index("ix_sign_ins_expires_at", "expires_at"),
    )

    session_hash: str = Field(sa_type=sa.String(64), primary_key=True)
    account: str = Field(sa_type=sa.String(255))
    revision: int = Field(sa_type=sa.Integer)
    how: str = Field(sa_type=sa.String(16))
    address: str = Field(sa_type=sa.String(64))
    created_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class TokenRow(SQLModel, table=True):
    """A program's key to the API; :class:`sightline.store.access_store.ApiToken`."""

    __tablename__ = "tokens"
    __table_args__ = (sa.UniqueConstraint("token_hash", name="uq_tokens_token_hash"),)

    token_id: str = Field(sa_type=sa.String(16), primary_key=True)
    name: str = Field(sa_type=sa.String(100))
    token_hash: str = Field(sa_type=sa.String(64))
    role: str = Field(sa_type=sa.String(16))
    cameras: frozenset[str] | None = Field(default=None, sa_type=NameSet)
    created_by: str = Field(sa_type=sa.String(100))
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class OneTimeLinkRow(SQLModel, table=True):
    """A link that works once: it sets the program up, or signs an account in."""

    __tablename__ = "one_time_links"

    link_hash: str = Field(sa_type=sa.String(64), primary_key=True)
    purpose: str = Field(sa_type=sa.String(16))
    account: str = Field(sa_type=sa.String(255))  # "" for none
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AuditRow(SQLModel, table=True):
    """Who did what; :class:`sightline.store.access_store.AuditEntry`."""

    __tablename__ = "audit"
    __table_args__ = (sa.Index("ix_audit_time", "time"),)

    entry_id: int | None = Field(default=None, sa_type=sa.Integer, primary_key=True)  # rises
    time: datetime = Field(sa_type=UtcDateTime)
    who: str = Field(sa_type=sa.String(100))
    how: str = Field(sa_type=sa.String(16))
    address: str = Field(sa_type=sa.String(64))
    action: str = Field(sa_type=sa.String(32))
    target: str = Field(sa_type=sa.String(255))
    outcome: str = Field(sa_type=sa.String(16))
    detail: str = Field(sa_type=sa.Text)


class ConfigChangeRow(SQLModel, table=True):
    """A change of the configuration; :class:`sightline.store.access_store.ConfigChange`."""

    __tablename__ = "config_changes"

    change_id: int | None = Field(default=None, sa_type=sa.Integer, primary_key=True)  # rises
    time: datetime = Field(sa_type=UtcDateTime)
    who: str = Field(sa_type=sa.String(100))
    changes: str = Field(sa_type=sa.Text)
    before: str = Field(sa_type=sa.Text)
    after: str = Field(sa_type=sa.Text)


class ExpiryRow(SQLModel, table=True):
    """Up to when rows of a kind have been deleted; see :mod:`sightline.store.retention`."""

    __tablename__ = "expiries"

    kind: str = Field(sa_type=sa.String(32), primary_key=True)
    until: datetime = Field(sa_type=UtcDateTime)


class LeaseRow(SQLModel, table=True):
    """Which program owns what is written; see :mod:`sightline.store.lease`."""

    __tablename__ = "leases"

    scope: str = Field(sa_type=sa.String(255), primary_key=True)
    owner: str = Field(sa_type=sa.String(64))  # the same for programs that continue one another
    fence: int = Field(sa_type=sa.BigInteger)  # rises with every owner
    held: bool = Field(sa_type=sa.Boolean)  # False: given back
    expires_at: datetime = Field(sa_type=UtcDateTime)  # by the database's clock
    program: dict[str, Any] = Field(sa_type=sa.JSON)  # store.lease.Program


class IdentityRow(SQLModel, table=True):
    """One row: what tells this database from every other, wherever it moves, and its newest change."""

    __tablename__ = "database_identity"

    id: uuid.UUID = Field(primary_key=True)
    last_change: int = Field(default=0, sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"})


def with_epochs(columns: Mapping[Any, Any]) -> dict[str, Any]:
    """A row's columns by name, times as UTC epoch seconds: what entities are made of."""
    items = columns.items()
    return {name: value.timestamp() if isinstance(value, datetime) else value for name, value in items}


def table_of(model: type[SQLModel]) -> sa.Table:
    """The model's table as SQLAlchemy knows it."""
    table: sa.Table = model.__table__  # type: ignore[attr-defined]
    return table
