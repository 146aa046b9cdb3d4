"""Numbers of each camera's hours, without pictures: whether the detector still sees what it saw."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "drift_windows",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("window_start", UtcDateTime(), primary_key=True),
        sa.Column("model_version", sa.String(100), primary_key=True),
        sa.Column("window_end", UtcDateTime(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("boxes", sa.BigInteger(), nullable=False),
        sa.Column("pictures", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
    )
    op.create_index("ix_drift_windows_window_start", "drift_windows", ["window_start"])
