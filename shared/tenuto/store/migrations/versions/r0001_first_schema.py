"""The first schema.

Revision: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from tenuto.store.column_types import AnyText, InsertedAt, Key, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    _instances(op)
    _histories(op)
    _letters(op)
    _ownership(op)


def downgrade(op: Operations) -> None:
    for table in (
        "tenuto_deployment",
        "tenuto_members",
        "tenuto_partitions",
        "tenuto_seen",
        "tenuto_outbox",
        "tenuto_inbox",
        "tenuto_timers",
        "tenuto_history",
        "tenuto_tags",
        "tenuto_instances",
    ):
        op.drop_table(table)


def _instances(op: Operations) -> None:
    op.create_table(
        "tenuto_instances",
        sa.Column("id", Key(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("workflow", Key(), nullable=False),
        sa.Column("version", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("tasks_pending", sa.Integer(), nullable=False),
        sa.Column("input", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary()),
        sa.Column("custom_status", sa.LargeBinary()),
        sa.Column("failure", sa.LargeBinary()),
        sa.Column("reason", AnyText()),
        sa.Column("tags", sa.LargeBinary()),
        sa.Column("parent", Key()),
        sa.Column("trace", sa.LargeBinary()),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime()),
        sa.PrimaryKeyConstraint("id", name="pk_tenuto_instances"),
    )
    op.create_index("ix_tenuto_instances_created_at", "tenuto_instances", ["created_at", "id"])
    op.create_index("ix_tenuto_instances_status", "tenuto_instances", ["status", "created_at", "id"])
    op.create_index("ix_tenuto_instances_workflow", "tenuto_instances", ["workflow", "created_at", "id"])
    for name, column, where in (
        ("ix_tenuto_instances_parent", "parent", sa.text("parent IS NOT NULL")),
        ("ix_tenuto_instances_pending", "partition", sa.text("tasks_pending > 0")),
    ):
        op.create_index(name, "tenuto_instances", [column], postgresql_where=where, sqlite_where=where)
    op.create_table(
        "tenuto_tags",
        sa.Column("instance", Key(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "digest", name="pk_tenuto_tags"),
    )
    op.create_index("ix_tenuto_tags_digest", "tenuto_tags", ["digest", "instance"])


def _histories(op: Operations) -> None:
    op.create_table(
        "tenuto_history",
        sa.Column("instance", Key(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "turn", name="pk_tenuto_history"),
    )
    op.create_table(
        "tenuto_timers",
        sa.Column("instance", Key(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("command", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("fire_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint(
            "instance", "run", "generation", "command", "attempt", name="pk_tenuto_timers"
        ),
    )
    op.create_index("ix_tenuto_timers_partition_fire_at", "tenuto_timers", ["partition", "fire_at"])


def _letters(op: Operations) -> None:
    op.create_table(
        "tenuto_inbox",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=True),
            primary_key=True,
        ),
        sa.Column("id", Key(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("run", sa.Text()),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False, server_default=InsertedAt()),
        sa.UniqueConstraint("id", name="uq_tenuto_inbox_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_tenuto_inbox_partition_held_position", "tenuto_inbox", ["partition", "held", "position"]
    )
    op.create_table(
        "tenuto_outbox",
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False, server_default=InsertedAt()),
        sa.PrimaryKeyConstraint("partition", "epoch", "seq", name="pk_tenuto_outbox"),
    )
    op.create_table(
        "tenuto_seen",
        sa.Column("instance", Key(), nullable=False),
        sa.Column("message_id", AnyText(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "message_id", name="pk_tenuto_seen"),
    )
    op.create_index("ix_tenuto_seen_created_at", "tenuto_seen", ["created_at"])


def _ownership(op: Operations) -> None:
    op.create_table(
        "tenuto_partitions",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", UtcTime()),
        sa.Column("broker_token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("partition", name="pk_tenuto_partitions"),
    )
    op.create_table(
        "tenuto_members",
        sa.Column("owner", Key(), nullable=False),
        sa.Column("seen_at", UtcTime(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_tenuto_members"),
    )
    op.create_table(
        "tenuto_deployment",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("layout", sa.Integer(), nullable=False),
        sa.Column("queue_type", sa.Text(), nullable=False),
        sa.Column("broker_token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenuto_deployment"),
        sa.CheckConstraint("id = 1", name="ck_tenuto_deployment_single_row"),
    )
