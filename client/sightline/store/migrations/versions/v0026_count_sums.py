"""Counts of hours and days are summed from an index alone."""

from alembic import op

revision = "0026"
down_revision = "0021"

NAME = "ix_count_rollups_period"


def upgrade() -> None:
    """Make the index anew, with all that is summed in it; SQLite sums by class in its order."""
    names = ["source", "item_class"]
    if op.get_bind().dialect.name == "sqlite":
        names.reverse()
    op.drop_index(NAME, "count_rollups")
    op.create_index(
        NAME, "count_rollups", ["period_s", "period_start", *names, "count", "arrivals", "blind_s"]
    )
