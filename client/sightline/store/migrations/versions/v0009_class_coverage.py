"""How much of a window each class could be seen, where the model lacked it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing is known of what is there: it stays as it is."""
    op.add_column("count_windows", sa.Column("coverage", sa.Float(), nullable=True))
    op.add_column("count_rollups", sa.Column("blind_s", sa.Float(), nullable=False, server_default="0"))
