"""Clips: the video around events."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "clips",
        sa.Column("source", sa.String(255), primary_key=True, nullable=False),
        sa.Column("start_time", UtcDateTime(), primary_key=True, nullable=False),
        sa.Column("end_time", UtcDateTime(), nullable=False),
        sa.Column("media_start_s", sa.Float(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("thumbnail", sa.Text(), nullable=False),
        sa.Column("codec", sa.String(32), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
    )
    op.create_index("ix_clips_start_time", "clips", ["start_time"])
