"""Alerts, what was told about them, and what nobody is told of."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the tables."""

    def text(name: str, length: int, *, key: bool = False) -> sa.Column[str]:
        return sa.Column(name, sa.String(length), primary_key=key, nullable=False)

    def time(name: str, *, nullable: bool = False) -> sa.Column[object]:
        return sa.Column(name, UtcDateTime(), nullable=nullable)

    op.create_table(
        "alerts",
        text("alert_id", 36, key=True),
        text("rule", 100),
        text("source", 255),
        text("kind", 32),
        text("place", 100),
        text("item_class", 100),
        sa.Column("value", sa.Float(), nullable=True),
        text("severity", 16),
        text("state", 16),
        time("event_time"),
        time("opened_time"),
        time("changed_time"),
        time("end_time", nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("muted", sa.Boolean(), nullable=False),
        sa.Column("escalated", sa.Boolean(), nullable=False),
        sa.Column("notifications", sa.Integer(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        text("who", 100),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("open_events", sa.JSON(), nullable=False),
    )
    op.create_index("ix_alerts_opened_time", "alerts", ["opened_time"])
    op.create_table(
        "notifications",
        text("alert_id", 36, key=True),
        sa.Column("ordinal", sa.Integer(), primary_key=True, autoincrement=False),
        text("transition", 16),
        sa.Column("routes", sa.JSON(), nullable=False),
        time("notification_time"),
        text("source", 255),
        text("severity", 16),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
    )
    op.create_table(
        "mutes",
        text("source", 255, key=True),
        text("rule", 100, key=True),
        time("until"),
        text("who", 100),
    )
