"""The tables.

Bodies (payloads, events, letters, documents) are bytes: no character of a user's can be refused by the database
(rule C6). Ids and names are text, compared by code point.

Indexes serve the listings that people ask for, newest first with keyset pagination: all, by status, by workflow; the
primary key serves id prefixes. Tags have a side table instead of a JSON index, because it is the same B-tree on every
database, costs nothing to the instances that have no tags, and, holding a digest of `(name, value)`, takes strings of
any length and with any character.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from tenuto.store.column_types import AnyText, InsertedAt, Key, UtcTime

__all__ = [
    "HEAD",
    "VERSION_TABLE",
    "deployment",
    "history",
    "inbox",
    "instances",
    "members",
    "metadata",
    "outbox",
    "partitions",
    "payloads",
    "seen",
    "tags",
    "timers",
]

HEAD = "0003"
"""The migration that makes this schema; a test compares it with the migrations' own head."""

VERSION_TABLE = "tenuto_version"
"""Where Alembic keeps the revision; not Alembic's default, which an application in the same database may use."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

instances = Table(
    "tenuto_instances",
    metadata,
    Column("id", Key(), primary_key=True),
    Column("run", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("workflow", Key(), nullable=False),
    Column("version", Text),
    Column("status", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("tasks_pending", Integer, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("output", LargeBinary),
    Column("custom_status", LargeBinary),
    Column("failure", LargeBinary),
    Column("reason", AnyText),
    Column("tags", LargeBinary),
    Column("parent", Key()),
    Column("trace", LargeBinary),
    Column("start_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Index("ix_tenuto_instances_created_at", "created_at", "id"),
    Index("ix_tenuto_instances_status", "status", "created_at", "id"),
    Index("ix_tenuto_instances_workflow", "workflow", "created_at", "id"),
    Index(
        "ix_tenuto_instances_parent",
        "parent",
        postgresql_where=text("parent IS NOT NULL"),
        sqlite_where=text("parent IS NOT NULL"),
    ),
    Index(
        "ix_tenuto_instances_pending",
        "partition",
        postgresql_where=text("tasks_pending > 0"),
        sqlite_where=text("tasks_pending > 0"),
    ),
)

tags = Table(
    "tenuto_tags",
    metadata,
    Column("instance", Key(), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance", "digest"),
    Index("ix_tenuto_tags_digest", "digest", "instance"),
)

history = Table(
    "tenuto_history",
    metadata,
    Column("instance", Key(), nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("events", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance", "turn"),
)

timers = Table(
    "tenuto_timers",
    metadata,
    Column("instance", Key(), nullable=False),
    Column("run", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("command", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("fire_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("instance", "run", "generation", "command", "attempt"),
    Index("ix_tenuto_timers_partition_fire_at", "partition", "fire_at"),
)

inbox = Table(
    "tenuto_inbox",
    metadata,
    # Given by the database, so that rows can be read in order of arrival. SQLite wants its INTEGER for this.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), Identity(always=True), primary_key=True),
    Column("id", Key(), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("target", Text, nullable=False),
    Column("run", Text),
    Column("held", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False, server_default=InsertedAt()),
    UniqueConstraint("id"),
    Index("ix_tenuto_inbox_partition_held_position", "partition", "held", "position"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "tenuto_outbox",
    metadata,
    Column("partition", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False, server_default=InsertedAt()),
    PrimaryKeyConstraint("partition", "epoch", "seq"),
)

seen = Table(
    "tenuto_seen",
    metadata,
    Column("instance", Key(), nullable=False),
    Column("message_id", AnyText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("instance", "message_id"),
    Index("ix_tenuto_seen_created_at", "created_at"),
)

payloads = Table(
    "tenuto_payloads",
    metadata,
    Column("key", Key(), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False, server_default=InsertedAt()),
)

partitions = Table(
    "tenuto_partitions",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text),
    Column("epoch", BigInteger, nullable=False),
    Column("lease_until", UtcTime),
    Column("broker_token", Text, nullable=False),
)

members = Table(
    "tenuto_members",
    metadata,
    Column("owner", Key(), primary_key=True),
    Column("seen_at", UtcTime, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("schemas", LargeBinary),
)

deployment = Table(
    "tenuto_deployment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("partitions", Integer, nullable=False),
    Column("layout", Integer, nullable=False),
    Column("queue_type", Text, nullable=False),
    Column("broker_token", Text, nullable=False),
    CheckConstraint("id = 1", name="single_row"),
)
