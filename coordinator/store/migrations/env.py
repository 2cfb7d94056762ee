"""Alembic's entry point: migrate inside the transaction that `coordinator.store.opening` has opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
