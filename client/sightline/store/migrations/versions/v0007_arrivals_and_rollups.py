"""What arrived in each window, and hours and days of counts that can be added up as windows can."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from sightline.store.rollups import every_period
from sightline.store.tables import UtcDateTime

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    """Arrivals of what is there stay unknown; its hours and days are left to the writer."""
    op.add_column("count_windows", sa.Column("arrivals", sa.Integer(), nullable=True))

    def key(*more: str) -> list[sa.Column[Any]]:
        columns = [sa.Column(name, sa.String(100), primary_key=True) for name in more]
        return [
            sa.Column("source", sa.String(255), primary_key=True),
            *columns,
            sa.Column("period_s", sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("period_start", UtcDateTime(), primary_key=True),
        ]

    op.create_table(
        "count_rollups",
        *key("item_class"),
        sa.Column("count", sa.Integer(), nullable=True),
        sa.Column("arrivals", sa.Integer(), nullable=True),
    )
    op.create_table(
        "source_rollups",
        *key(),
        sa.Column("watched_s", sa.Float(), nullable=False),
        sa.Column("dropped_frames", sa.BigInteger(), nullable=False),
        sa.Column("longest_window_s", sa.Float(), nullable=False),
    )
    op.create_table("stale_rollups", *key(), sa.Column("period_end", UtcDateTime(), nullable=False))
    for table in ("count_rollups", "source_rollups"):
        op.create_index(f"ix_{table}_period", table, ["period_s", "period_start"])
    every_period(op.get_bind())
