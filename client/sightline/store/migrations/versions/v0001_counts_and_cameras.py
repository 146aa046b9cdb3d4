"""Counts, how much was watched, and the cameras."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    key = ("source", "item_class", "window_start", "window_end")
    op.create_table(
        "count_windows",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("item_class", sa.String(100), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("window_start", UtcDateTime(), nullable=False),
        sa.Column("window_end", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.UniqueConstraint(*key, name="uq_count_windows_source_item_class_window"),
    )
    op.create_index("ix_count_windows_window_start", "count_windows", ["window_start"])
    op.create_table(
        "source_windows",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("window_start", UtcDateTime(), primary_key=True),
        sa.Column("window_end", UtcDateTime(), primary_key=True),
        sa.Column("coverage", sa.Float(), nullable=False),
        sa.Column("effective_fps", sa.Float(), nullable=False),
        sa.Column("dropped_frames", sa.Integer(), nullable=False),
        sa.Column("clock_source", sa.String(16), nullable=False),
        sa.Column("model_version", sa.String(100), nullable=False),
        sa.Column("config_hash", sa.String(64), nullable=False),
    )
    op.create_index("ix_source_windows_window_start", "source_windows", ["window_start"])
    op.create_table(
        "cameras",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("heartbeat", UtcDateTime(), nullable=False),
        sa.Column("last_frame_time", UtcDateTime(), nullable=True),
        sa.Column("status", sa.JSON(), nullable=False),
        sa.Column("resume", sa.JSON(), nullable=False),
    )
