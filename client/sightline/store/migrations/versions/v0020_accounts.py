"""People, tokens, and who did what; roles that read the other tables do not read these."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from sightline.store.tables import NameSet, UtcDateTime

revision = "0020"
down_revision = "0016"

_TABLES = ("accounts", "sign_ins", "tokens", "one_time_links", "audit")


def upgrade() -> None:
    """Make the tables."""

    def text(name: str, length: int, *, key: bool = False, nullable: bool = False) -> sa.Column[str]:
        return sa.Column(name, sa.String(length), primary_key=key, nullable=nullable)

    def time(name: str, *, nullable: bool = False) -> sa.Column[object]:
        return sa.Column(name, UtcDateTime(), nullable=nullable)

    op.create_table(
        "accounts",
        text("account", 255, key=True),
        text("name", 100),
        text("role", 16),
        sa.Column("cameras", NameSet(), nullable=True),
        text("subject", 512, nullable=True),
        text("password_hash", 255),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("must_change", sa.Boolean(), nullable=False),
        time("expires_at", nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        time("locked_until", nullable=True),
        time("created_at"),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.UniqueConstraint("subject", name="uq_accounts_subject"),
    )
    op.create_table(
        "sign_ins",
        text("session_hash", 64, key=True),
        text("account", 255),
        sa.Column("revision", sa.Integer(), nullable=False),
        text("how", 16),
        text("address", 64),
        time("created_at"),
        time("seen_at"),
        time("expires_at"),
        time("ended_at", nullable=True),
    )
    op.create_index("ix_sign_ins_account", "sign_ins", ["account"])
    op.create_index("ix_sign_ins_expires_at", "sign_ins", ["expires_at"])
    op.create_table(
        "tokens",
        text("token_id", 16, key=True),
        text("name", 100),
        text("token_hash", 64),
        text("role", 16),
        sa.Column("cameras", NameSet(), nullable=True),
        text("created_by", 100),
        time("created_at"),
        time("expires_at"),
        time("used_at", nullable=True),
        time("revoked_at", nullable=True),
        sa.UniqueConstraint("token_hash", name="uq_tokens_token_hash"),
    )
    op.create_table(
        "one_time_links",
        text("link_hash", 64, key=True),
        text("purpose", 16),
        text("account", 255),
        time("created_at"),
        time("expires_at"),
        time("used_at", nullable=True),
    )
    op.create_table(
        "audit",
        sa.Column("entry_id", sa.Integer(), primary_key=True),
        time("time"),
        text("who", 100),
        text("how", 16),
        text("address", 64),
        text("action", 32),
        text("target", 255),
        text("outcome", 16),
        sa.Column("detail", sa.Text(), nullable=False),
    )
    op.create_index("ix_audit_time", "audit", ["time"])
    keep_from_readers(_TABLES)


def keep_from_readers(tables: Sequence[str]) -> None:
    """Take back what default privileges have given other roles (deploy/postgres/reader.sh)."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    quote = connection.dialect.identifier_preparer.quote
    grants = sa.text(
        "SELECT DISTINCT table_name, grantee FROM information_schema.role_table_grants "
        "WHERE table_schema = current_schema() AND table_name = ANY(:tables) AND grantee <> current_user"
    )
    for table, grantee in connection.execute(grants, {"tables": list(tables)}).all():
        role = grantee if grantee == "PUBLIC" else quote(grantee)
        connection.exec_driver_sql(f"REVOKE ALL ON {table} FROM {role}")
