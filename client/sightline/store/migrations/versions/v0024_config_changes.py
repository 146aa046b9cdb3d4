"""What the configuration was before and after each change; no secret is in it, and readers do not see it."""

import sqlalchemy as sa
from alembic import op

from sightline.store.migrations.versions.v0020_accounts import keep_from_readers
from sightline.store.tables import UtcDateTime

revision = "0024"
down_revision = "0017"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "config_changes",
        sa.Column("change_id", sa.Integer(), primary_key=True),
        sa.Column("time", UtcDateTime(), nullable=False),
        sa.Column("who", sa.String(100), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
    )
    keep_from_readers(["config_changes"])
