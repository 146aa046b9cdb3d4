"""Sums that the console reads: events by hour and day, what counted, and rows in the order of time."""

import sqlalchemy as sa
from alembic import op

from sightline.store.rollups import sum_events
from sightline.store.tables import UtcDateTime

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Sum what is there; what counted in hours of before stays unknown."""
    with op.batch_alter_table("count_windows") as table:
        name = "uq_count_windows_source_item_class_window"
        table.drop_constraint(name, type_="unique")
        table.create_unique_constraint(name, ["source", "window_start", "item_class", "window_end"])
    for name in ("model_version", "config_hash"):
        length = 100 if name == "model_version" else 64
        op.add_column("source_rollups", sa.Column(name, sa.String(length), nullable=True))
    _cluster("count_rollups", "source", "period_s", "period_start", "item_class")
    _cluster("source_rollups", "source", "period_s", "period_start")
    op.create_table(
        "event_rollups",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("period_s", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("period_start", UtcDateTime(), primary_key=True),
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("place", sa.String(100), primary_key=True),
        sa.Column("direction", sa.String(16), primary_key=True),
        sa.Column("item_class", sa.String(100), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    sum_events(op.get_bind())


def _cluster(name: str, *key: str) -> None:
    """Have the table's rows lie in the order of this key; on Postgres only its index."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint(f"{name}_pkey", name, type_="primary")
        op.create_primary_key(f"{name}_pkey", name, list(key))
        return
    old = sa.Table(name, sa.MetaData(), autoload_with=connection)
    columns = [*(old.c[column] for column in key), *(c for c in old.c if c.name not in key)]
    new = sa.Table(
        f"{name}_new",
        sa.MetaData(),
        *(
            sa.Column(
                c.name,
                c.type,
                primary_key=c.name in key,
                autoincrement=False,
                nullable=c.nullable,
                server_default="0" if c.name == "blind_s" else None,
            )
            for c in columns
        ),
        sqlite_with_rowid=False,
    )
    new.create(connection)
    names = [column.name for column in columns]
    connection.execute(
        sa.insert(new).from_select(names, sa.select(*columns).order_by(*(old.c[n] for n in key)))
    )
    op.drop_table(name)
    op.rename_table(new.name, name)
    op.create_index(f"ix_{name}_period", name, ["period_s", "period_start"])
