"""Events and alerts carry the number of their newest change, by which readers follow them."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0023"


def upgrade() -> None:
    """Add the columns and the indices; what is there already is older than every number."""
    for table in ("events", "alerts"):
        op.add_column(table, sa.Column("change_number", sa.BigInteger(), nullable=False, server_default="0"))
        op.create_index(f"ix_{table}_change_number", table, ["change_number"])
    op.add_column(
        "database_identity", sa.Column("last_change", sa.BigInteger(), nullable=False, server_default="0")
    )
