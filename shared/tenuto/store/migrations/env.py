"""Alembic's environment, for writing migrations.

    alembic -c shared/tenuto/store/migrations/alembic.ini -x url=postgresql+asyncpg://… revision --autogenerate -m …

To run them, use `tenuto db upgrade` (`tenuto.store.migrate`), which holds a lock while it does.
"""

from __future__ import annotations

import asyncio

from alembic import context
from alembic.operations import Operations
from sqlalchemy import Connection, NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from tenuto.store.schema import VERSION_TABLE, metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        compare_type=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations(op=Operations(context.get_context()))


async def main() -> None:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise SystemExit("say which database: alembic -x url=postgresql+asyncpg://…")
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
