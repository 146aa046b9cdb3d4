"""Clips of H.265 may have a copy in H.264."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0020"


def upgrade() -> None:
    """Add the column."""
    op.add_column("clips", sa.Column("h264_path", sa.Text(), nullable=False, server_default=""))
