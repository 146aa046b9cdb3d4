"""Up to when rows have been deleted, and indices by which the oldest are found."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Make the table and the indices."""
    op.create_table(
        "expiries",
        sa.Column("kind", sa.String(32), primary_key=True, nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_events_event_time", "events", ["event_time"])
    op.create_index("ix_notifications_notification_time", "notifications", ["notification_time"])
