"""Offset and drift of cameras' clocks, by hour."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "clock_windows",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("window_start", UtcDateTime(), primary_key=True),
        sa.Column("offset_s", sa.Float(), nullable=False),
        sa.Column("drift_ppm", sa.Float(), nullable=True),
        sa.Column("jitter_s", sa.Float(), nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("clock_source", sa.String(16), nullable=False),
    )
    op.create_index("ix_clock_windows_window_start", "clock_windows", ["window_start"])
