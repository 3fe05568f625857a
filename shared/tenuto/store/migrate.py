"""Running the migrations, and telling whether they have been run.

Alembic's own command line keeps its state in module globals. Here the migrations are run from a context of their own
and are handed their `op`, so that a process may upgrade two databases at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tenuto.errors import SchemaError
from tenuto.store.schema import HEAD, VERSION_TABLE

__all__ = ["check_revision", "migrations", "run_migrations"]


def migrations() -> ScriptDirectory:
    """The packaged migrations."""
    return ScriptDirectory(str(Path(__file__).parent / "migrations"))


def run_migrations(connection: Connection, where: str, *, target: str = "head") -> None:
    """Bring the schema up to `target`, within the transaction that the connection is in.

    The caller holds a lock against other processes, and commits.

    Raises:
        SchemaError: the schema is a later release's.
    """
    scripts = migrations()
    known = _known(scripts)

    def steps(heads: tuple[str, ...], _context: MigrationContext) -> Iterable[MigrationStep]:
        for head in heads:
            if head not in known:
                check_revision(head, where)
        ahead = list(scripts.iterate_revisions(target, heads or "base"))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in reversed(ahead)]

    options: dict[str, Any] = {"fn": steps, "version_table": VERSION_TABLE, "transactional_ddl": True}
    context = MigrationContext.configure(connection, opts=options)
    context.run_migrations(op=Operations(context))


def check_revision(revision: str | None, where: str) -> None:
    """Raises `SchemaError` unless the revision is this program's."""
    if revision == HEAD:
        return
    if revision is None or revision in _known(migrations()):
        raise SchemaError(
            f"{where} has an older schema ({revision or 'empty'}) than this program wants ({HEAD}); "
            "run `tenuto db upgrade` to migrate it"
        )
    raise SchemaError(
        f"{where} has a newer schema ({revision}) than this program knows ({HEAD}); "
        "run the release of Tenuto that did `tenuto db upgrade`, or a later one"
    )


def _known(scripts: ScriptDirectory) -> frozenset[str]:
    return frozenset(script.revision for script in scripts.walk_revisions())
