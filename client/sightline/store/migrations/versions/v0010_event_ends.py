"""Events that last have an end, and every event its position in the stream."""

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0010"
down_revision = "0009"

#: A visit ends with the track's next ``leave``, too many people in a zone with the next ``below``; what has
#: neither is left open.
_ENDS = """
UPDATE events SET end_time = ends.end_time FROM (
    SELECT id, CASE
        WHEN kind IN ('enter', 'loiter') OR direction = 'above' THEN MIN(
            CASE WHEN kind = 'leave' OR direction = 'below' THEN event_time END
        ) OVER (
            PARTITION BY source, place, track_id ORDER BY event_time, created_at
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        )
        ELSE event_time
    END AS end_time FROM events
) AS ends WHERE ends.id = events.id
"""


def upgrade() -> None:
    """Add the columns, and give the events that are there their ends."""
    op.add_column("events", sa.Column("end_time", UtcDateTime(), nullable=True))
    op.add_column("events", sa.Column("media_s", sa.Float(), nullable=True))
    op.execute(_ENDS)
    is_open = sa.text("end_time IS NULL")
    op.create_index("ix_events_open", "events", ["source"], sqlite_where=is_open, postgresql_where=is_open)
