"""Counts of hours and days are summed from an index alone."""

from alembic import op

revision = "0026"
down_revision = "0021"

NAME = "ix_count_rollups_period"
COLUMNS = ("period_s", "period_start", "source", "item_class", "count", "arrivals", "blind_s")


def upgrade() -> None:
    """Make the index anew, with all that is summed in it."""
    op.drop_index(NAME, "count_rollups")
    op.create_index(NAME, "count_rollups", [*COLUMNS])
