"""Alembic migrations; `tenuto.store.migrate` runs them."""
