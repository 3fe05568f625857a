"""Delayed starts, and what members say of their workflows' parameters.

Revision: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from tenuto.store.column_types import UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Both columns may be empty, so the release before goes on with its own statements."""
    op.add_column("tenuto_instances", sa.Column("start_at", UtcTime()))
    op.add_column("tenuto_members", sa.Column("schemas", sa.LargeBinary()))


def downgrade(op: Operations) -> None:
    op.drop_column("tenuto_members", "schemas")
    op.drop_column("tenuto_instances", "start_at")
