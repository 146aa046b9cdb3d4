"""Alembic's entry: runs on the connection (and in the transaction) that :func:`migrate` hands over."""

from alembic import context

from sightline.store.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], version_table=VERSION_TABLE, transactional_ddl=True
)
context.run_migrations()
