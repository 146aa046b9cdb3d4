"""What rules saw."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("place", sa.String(100), nullable=False),
        sa.Column("item_class", sa.String(100), nullable=False),
        sa.Column("track_id", sa.BigInteger(), nullable=False),
        sa.Column("event_time", UtcDateTime(), nullable=False),
        sa.Column("direction", sa.String(16), nullable=True),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("x", sa.Float(), nullable=True),
        sa.Column("y", sa.Float(), nullable=True),
        sa.Column("unseen", sa.Boolean(), nullable=False),
        sa.Column("confirmed_time", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_events_source_event_time", "events", ["source", "event_time"])
