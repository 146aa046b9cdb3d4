"""Where confirmed tracks have been."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0022"
down_revision = "0024"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "track_paths",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("start_time", UtcDateTime(), primary_key=True),
        sa.Column("track_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("first_time", UtcDateTime(), nullable=False),
        sa.Column("end_time", UtcDateTime(), nullable=False),
        sa.Column("item_class", sa.String(100), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("points", sa.JSON(), nullable=False),
        sa.Column("places", sa.JSON(), nullable=False),
    )
    op.create_index("ix_track_paths_start_time", "track_paths", ["start_time"])
