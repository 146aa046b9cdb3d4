"""Which program owns the database, and the database's own name."""

import uuid

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables, and name the database."""
    op.create_table(
        "leases",
        sa.Column("scope", sa.String(255), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("program", sa.JSON(), nullable=False),
    )
    identity = op.create_table("database_identity", sa.Column("id", sa.Uuid(), primary_key=True))
    op.bulk_insert(identity, [{"id": uuid.uuid4()}])
