"""SQLite sums windows of all cameras from an index alone."""

from alembic import op

revision = "0027"
down_revision = "0026"

NAME = "ix_count_windows_window_start"


def upgrade() -> None:
    """Make the index anew, with all that is summed in it; Postgres would read the rows all the same."""
    if op.get_bind().dialect.name != "sqlite":
        return
    op.drop_index(NAME, "count_windows")
    columns = ["window_start", "item_class", "source", "count", "arrivals", "coverage"]
    op.create_index(NAME, "count_windows", columns)
