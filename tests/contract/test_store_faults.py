"""What becomes of a store when its database fails under it (rules C3, C6, O3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from tenuto.errors import SettingsError, StoreUnavailableError
from tenuto.store import Store, make_store
from tenuto.store.postgres import PostgresStore
from tenuto.store.protocol import Deployment
from tenuto.testing.store_contract.base import LONG, Owned, letter, record, turn
from tests.support.servers import PrivatePostgres

LEASE = timedelta(seconds=3)


def sync_url(url: str) -> str:
    return url.replace("+asyncpg", "")


def terminate_others(url: str) -> None:
    """End every other session on the database."""
    with psycopg.connect(sync_url(url), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def engine_of(store: Store) -> AsyncEngine:
    """The engine below the store, where faults are injected."""
    engine = store._database._engine  # type: ignore[attr-defined]  # no part of the protocol
    assert isinstance(engine, AsyncEngine)
    return engine


@pytest_asyncio.fixture
async def owned(postgres_url: str) -> AsyncIterator[Owned]:
    store = PostgresStore(postgres_url, lease=LEASE)
    await store.upgrade()
    await store.open()
    await store.deployment(Deployment(partitions=2))
    yield Owned(store=store, epochs=dict(await store.claim("me", [0, 1], lease=LONG)))
    await store.close()


async def test_connections_that_died_in_the_pool_are_replaced(owned: Owned, postgres_url: str) -> None:
    await asyncio.gather(*(owned.store.inbox([0], limit=1) for _ in range(4)))
    terminate_others(postgres_url)
    with pytest.raises(StoreUnavailableError):
        await owned.commit(owned.writes(inserts=[record()]))
    # All that the pool held are gone with the first that was found dead.
    await owned.commit(owned.writes(inserts=[record()]))
    assert set(await owned.store.instances(["order"])) == {"order"}


async def test_a_session_that_dies_before_commit_stores_nothing(owned: Owned, postgres_url: str) -> None:
    def kill(_connection: Any) -> None:
        terminate_others(postgres_url)

    engine = engine_of(owned.store)
    event.listen(engine.sync_engine, "commit", kill)
    writes = owned.writes(inserts=[record()], turns=[turn()], broker_token="new")  # needs a transaction
    with pytest.raises(StoreUnavailableError, match="outcome of a commit is unknown"):
        await owned.store.commit([writes], lease=LONG)
    event.remove(engine.sync_engine, "commit", kill)
    assert await owned.store.instances(["order"]) == {}
    await owned.commit(owned.writes(inserts=[record()]))


async def test_a_usual_commit_is_one_statement(owned: Owned) -> None:
    sent: list[str] = []
    engine = engine_of(owned.store).sync_engine
    event.listen(engine, "before_cursor_execute", lambda *told: sent.append(told[2]))
    event.listen(engine, "begin", lambda _connection: sent.append("BEGIN"))
    both = (
        owned.writes(inserts=[record()], turns=[turn()]),
        owned.writes(1, inbox_added=[letter("l", partition=1)]),
    )
    await owned.commit(*both)
    assert [text for text in sent if text != "BEGIN"] == []
    await owned.commit(owned.writes(broker_token="new"))
    assert len(sent) > 1
    assert set(await owned.store.instances(["order"])) == {"order"}


async def test_a_session_that_dies_in_its_one_statement_leaves_the_outcome_unknown(
    owned: Owned, postgres_url: str
) -> None:
    """Rule C3: nobody can tell whether it was carried out, so that it is not tried again."""
    with psycopg.connect(sync_url(postgres_url)) as holder:
        holder.execute("SELECT FROM tenuto_partitions WHERE partition = 0 FOR UPDATE")
        commit = asyncio.create_task(
            owned.store.commit([owned.writes(inserts=[record()], turns=[turn()])], lease=LONG)
        )
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while holder.execute(waiting).fetchone() != (1,):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        holder.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with pytest.raises(StoreUnavailableError, match="outcome of a commit is unknown"):
            await commit
    assert await owned.store.instances(["order"]) == {}
    await owned.commit(owned.writes(inserts=[record()], turns=[turn()]))


async def test_data_refused_by_the_commit_itself_is_not_taken_for_a_refusal(
    owned: Owned, postgres_url: str
) -> None:
    with psycopg.connect(sync_url(postgres_url), autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE unique_violation; END $$"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON tenuto_history DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    with pytest.raises(StoreUnavailableError, match="unknown"):
        await owned.store.commit([owned.writes(turns=[turn()])], lease=LONG)
    assert await owned.store.history("order") == []


async def test_a_lock_that_another_holds_is_waited_for_less_than_the_lease(
    owned: Owned, postgres_url: str
) -> None:
    with psycopg.connect(sync_url(postgres_url)) as holder:
        holder.execute("SELECT FROM tenuto_partitions WHERE partition = 0 FOR UPDATE")
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            await owned.store.commit([owned.writes(inserts=[record()])], lease=LONG)
        await owned.commit(owned.writes(1, inserts=[record("other", partition=1)]))
    await owned.commit(owned.writes(inserts=[record()]))


async def test_a_stopped_owner_does_not_hold_its_locks(owned: Owned, postgres_url: str) -> None:
    """Its transaction is left in the middle, like that of a process that was stopped, and the server ends it."""
    stopped = PostgresStore(postgres_url, lease=timedelta(seconds=1))
    async with engine_of(stopped).connect() as connection:
        await connection.exec_driver_sql("SELECT partition FROM tenuto_partitions FOR UPDATE")
        await owned.commit(owned.writes(inserts=[record()]))
        await connection.invalidate()
    await stopped.close()


async def test_an_owner_stopped_between_the_messages_of_a_statement_is_ended_by_a_claim(
    owned: Owned, postgres_url: str
) -> None:
    """Rule O3: the server takes such a session for active, so that none of its time limits strikes."""
    lease = timedelta(seconds=1)
    await owned.store.release("me", [1])
    stopped = psycopg.connect(sync_url(postgres_url), application_name="tenuto orchestrator")
    raw = stopped.pgconn
    raw.enter_pipeline_mode()
    raw.send_query_params(b"BEGIN", None)
    raw.send_query_params(b"SET LOCAL statement_timeout = 500", None)
    raw.send_query_params(b"SELECT partition FROM tenuto_partitions FOR UPDATE", None)
    raw.send_flush_request()
    raw.flush()
    with psycopg.connect(sync_url(postgres_url), autocommit=True) as watch:
        waits = (
            "SELECT wait_event FROM pg_stat_activity WHERE pid = %s AND xact_start < now() - interval '1 s'"
        )
        while watch.execute(waits, [raw.backend_pid]).fetchone() != ("ClientRead",):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
    successor = PostgresStore(postgres_url, lease=lease)
    assert set(await successor.claim("successor", [1], lease=lease)) == {1}
    await successor.close()
    stopped.close()


async def test_deadlocks_are_no_refusals(owned: Owned, postgres_url: str) -> None:
    """A user's transaction and a delivery that insert the same letters crosswise: one of them is a victim."""
    async with await psycopg.AsyncConnection.connect(sync_url(postgres_url)) as user:
        insert = "INSERT INTO tenuto_inbox (id, partition, target, held, body) VALUES (%s, 0, '', false, '')"
        await user.execute("SET deadlock_timeout = '10min'")  # so that the other one finds it
        await user.execute(insert, ["b"])
        patient = make_store(postgres_url)
        task = asyncio.create_task(patient.deliver([letter("a"), letter("b")]))
        await blocked(postgres_url)
        crossing = asyncio.create_task(user.execute(insert, ["a"]))
        with pytest.raises(StoreUnavailableError, match="deadlock"):
            await task
        await crossing
        await patient.close()
    assert await owned.store.waiting(["a", "b"]) == {"a", "b"}


async def blocked(url: str) -> None:
    """Wait until a session on the database waits for a lock."""
    async with await psycopg.AsyncConnection.connect(sync_url(url), autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        waiting = 0
        while not waiting:
            found = await (await connection.execute(query)).fetchone()
            assert found is not None
            waiting = found[0]


async def test_a_lock_over_the_deployment_that_was_lost_is_told(owned: Owned, postgres_url: str) -> None:
    with pytest.raises(StoreUnavailableError):
        async with owned.store.exclusive("broker"):
            terminate_others(postgres_url)
    async with owned.store.exclusive("broker"):
        pass


async def test_an_error_in_the_locked_block_is_not_the_databases(owned: Owned) -> None:
    with pytest.raises(ConnectionResetError):
        async with owned.store.exclusive("broker"):
            raise ConnectionResetError


async def test_what_waiting_does_not_cure_is_told_at_once(postgres_url: str) -> None:
    missing = make_url(postgres_url).set(database="tenuto_no_such_database")
    store = make_store(missing.render_as_string(hide_password=False), connect_timeout=600)
    with pytest.raises(SettingsError, match="no such database"):
        await store.open()
    await store.close()


async def test_a_server_that_is_still_starting_is_waited_for(private_postgres: PrivatePostgres) -> None:
    await private_postgres.stop()
    store = make_store(private_postgres.url, connect_timeout=60)
    opening = asyncio.create_task(store.upgrade())
    await private_postgres.start()
    await opening
    await store.open()
    await store.close()


async def test_a_restarted_server_is_found_again(private_postgres: PrivatePostgres) -> None:
    store = PostgresStore(private_postgres.url, lease=LEASE)
    await store.upgrade()
    await store.deployment(Deployment(partitions=1))
    owned = Owned(store=store, epochs=dict(await store.claim("me", [0], lease=LONG)))
    await owned.commit(owned.writes(inserts=[record()], turns=[turn()]))
    await private_postgres.kill()
    with pytest.raises(StoreUnavailableError):
        await owned.commit(owned.writes(turns=[turn(number=1)]))
    await private_postgres.start()
    await store.open()
    assert await store.history("order") == [b"[]"]
    await owned.commit(owned.writes(turns=[turn(number=1)]))
    await store.close()
