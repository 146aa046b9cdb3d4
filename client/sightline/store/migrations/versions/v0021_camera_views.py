"""Whether cameras show what they were set up to show."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0021"
down_revision = "0025"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "camera_views",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("fits", sa.Boolean(), nullable=False),
        sa.Column("lights", sa.JSON(), nullable=False),
        sa.Column("proposal", sa.JSON(), nullable=True),
    )
