"""Events keep all that names them, so that another program can end them."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

#: What goes on without a name cannot be ended later: it ends when its camera was last heard of.
_ENDS = """
UPDATE events SET end_time = coalesce(
    (SELECT heartbeat FROM cameras WHERE cameras.source = events.source AND heartbeat > event_time),
    event_time
) WHERE end_time IS NULL
"""


def upgrade() -> None:
    """Add the columns, and end what goes on."""
    op.add_column("events", sa.Column("first_time", sa.Float(), nullable=True))
    op.add_column("events", sa.Column("ordinal", sa.Integer(), nullable=True))
    op.execute(_ENDS)
