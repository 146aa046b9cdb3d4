"""Alerts name the routes by which something of them was given up."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column."""
    op.add_column("alerts", sa.Column("failed_routes", sa.JSON(), nullable=False, server_default="[]"))
