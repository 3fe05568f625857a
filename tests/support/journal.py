"""What the database was told, written down by triggers of its own: every run, every turn, every end, in order.

The engine deletes histories of past generations; here they stay. And what the engine's tables can no longer show (a run
that replaced another, a turn written twice and overwritten once) stands here as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from sqlalchemy import make_url

from tenuto.core.events import Event, decode_events

__all__ = ["Journal", "Run", "TurnWritten", "install_journal", "plain_url", "read_journal"]

_INSTALL = """
CREATE SCHEMA journal;
CREATE TABLE journal.runs (seq bigserial, instance text, run text);
CREATE TABLE journal.turns (seq bigserial, instance text, turn bigint, generation bigint, events bytea);
CREATE TABLE journal.ends (seq bigserial, instance text, run text, status text);

CREATE FUNCTION journal.note_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO journal.runs (instance, run) VALUES (NEW.id, NEW.run);
    RETURN NULL;
END $$;
CREATE FUNCTION journal.note_turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO journal.turns (instance, turn, generation, events)
        VALUES (NEW.instance, NEW.turn, NEW.generation, NEW.events);
    RETURN NULL;
END $$;
CREATE FUNCTION journal.note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO journal.ends (instance, run, status) VALUES (NEW.id, NEW.run, NEW.status);
    RETURN NULL;
END $$;

CREATE TRIGGER journal_run AFTER INSERT ON tenuto_instances
    FOR EACH ROW EXECUTE FUNCTION journal.note_run();
CREATE TRIGGER journal_turn AFTER INSERT OR UPDATE ON tenuto_history
    FOR EACH ROW EXECUTE FUNCTION journal.note_turn();
CREATE TRIGGER journal_end_at_once AFTER INSERT ON tenuto_instances
    FOR EACH ROW WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION journal.note_end();
CREATE TRIGGER journal_end AFTER UPDATE ON tenuto_instances
    FOR EACH ROW WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION journal.note_end();
"""


@dataclass(frozen=True, kw_only=True)
class TurnWritten:
    turn: int
    generation: int
    events: Sequence[Event]


@dataclass(kw_only=True)
class Run:
    """One instance, as it was committed, in order."""

    instance: str
    runs: list[str] = field(default_factory=list)
    turns: list[TurnWritten] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """The statuses with which it ended."""

    def generations(self) -> dict[int, list[Event]]:
        """The events of each generation; of one that continued as new, all but its last turn, whose events that begin
        the next one stand there."""
        found: defaultdict[int, list[Event]] = defaultdict(list)
        for turn in self.turns:
            found[turn.generation] += turn.events
        return dict(found)


Journal = dict[str, Run]
"""By instance."""


def plain_url(database_url: str) -> str:
    """The URL as libpq understands it."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


def install_journal(database_url: str) -> None:
    """Begin to write down. The engine's tables must be there, and empty."""
    with psycopg.connect(plain_url(database_url), autocommit=True) as connection:
        connection.execute(_INSTALL)


def read_journal(database_url: str) -> Journal:
    """Everything so far."""
    journal: Journal = {}

    def of(instance: str) -> Run:
        return journal.setdefault(instance, Run(instance=instance))

    with psycopg.connect(plain_url(database_url), autocommit=True) as connection:
        for instance, run in connection.execute("SELECT instance, run FROM journal.runs ORDER BY seq"):
            of(instance).runs.append(run)
        turns = "SELECT instance, turn, generation, events FROM journal.turns ORDER BY seq"
        for instance, turn, generation, events in connection.execute(turns):
            of(instance).turns.append(
                TurnWritten(turn=turn, generation=generation, events=decode_events(bytes(events)))
            )
        for instance, status in connection.execute("SELECT instance, status FROM journal.ends ORDER BY seq"):
            of(instance).ends.append(status)
    return journal
