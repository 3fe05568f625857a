"""Large payloads in a table of their own.

Revision: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from tenuto.store.column_types import InsertedAt, Key, UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """A new table, so the release before goes on with its own statements."""
    op.create_table(
        "tenuto_payloads",
        sa.Column("key", Key(), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False, server_default=InsertedAt()),
    )


def downgrade(op: Operations) -> None:
    op.drop_table("tenuto_payloads")
