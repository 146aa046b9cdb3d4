"""The sequence of a camera's newest checkpoint: a spool that comes back late cannot overwrite newer rows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; rows that are there count as older than everything."""
    op.add_column("cameras", sa.Column("sequence", sa.BigInteger(), nullable=False, server_default="0"))
