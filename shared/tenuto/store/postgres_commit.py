"""A commit as one statement of PostgreSQL's: one round trip, and one plan that its session keeps.

A transaction of seven statements costs a lone workflow eight round trips, and SQLAlchemy's layers eight times; here
the same statements are common table expressions of one. It is the only place that goes below SQLAlchemy, to asyncpg.

The statement is hopeful: where the fence does not hold, or one of its parts did not touch the rows that it should
have, it fails as a whole, and the plain transaction finds out what is the matter (rules C1, C6). That is safe, because
only an error that the server itself has reported of the statement leads there: everything else is an unknown outcome,
as at any COMMIT (rule C3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Dialect, literal_column

from tenuto.store import schema
from tenuto.store.column_types import AnyType
from tenuto.store.commits import Step
from tenuto.store.errors import sqlstate_of

__all__ = ["OneStatement", "is_definite"]

_DEFINITE: Final = frozenset({"22", "23", "54"})
"""Classes of SQLSTATE with which a server refuses a statement, so that it has left nothing behind: data exception (that
of a part that did not fit is one), integrity constraint violation, program limit exceeded."""
_OWN: Final = 3
"""Parameters that the fence has: partitions, epochs, lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A step as an expression of a larger statement."""

    sql: str
    processors: tuple[Callable[[Any], Any] | None, ...]
    """What each column's values go through."""

    def numbered(self, first: int) -> str:
        """With its parameters numbered from `first`."""
        return _NUMBER.sub(lambda found: f"${int(found[1]) + first - 1}", self.sql)

    def arguments(self, rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
        columns = zip(*rows, strict=True)
        return [
            list(values) if process is None else [None if v is None else process(v) for v in values]
            for process, values in zip(self.processors, columns, strict=True)
        ]


_NUMBER = re.compile(r"\$(\d+)")


class OneStatement:
    """Makes the statements, one for each combination of steps that a commit was seen to have, and their arguments."""

    def __init__(self, steps: Sequence[Step], dialect: Dialect) -> None:
        self._steps = steps
        self._parts = {number: _part(step, dialect) for number, step in enumerate(steps) if not step.ordered}
        self._made: dict[tuple[int, ...], str] = {}

    def make(
        self, fence: Sequence[tuple[int, int]], rows: Sequence[Sequence[tuple[Any, ...]]], lease: timedelta
    ) -> tuple[str, list[Any]] | None:
        """The statement for these rows, in the order of the steps, and its arguments.

        Args:
            fence: the partitions and their epochs, by partition.
            rows: those of each step.
            lease: until when, from now, the partitions are ours.

        Returns:
            None, if these rows need the order of a transaction's statements.

        """
        present = tuple(number for number, some in enumerate(rows) if some)
        if not self._parts.keys() >= set(present):
            return None
        if present not in self._made:
            self._made[present] = self._statement(present)
        arguments: list[Any] = [[p for p, _ in fence], [epoch for _, epoch in fence], lease]
        for number in present:
            arguments += self._parts[number].arguments(rows[number])
        return self._made[present], arguments

    def _statement(self, present: Sequence[int]) -> str:
        expressions = [f"fence AS ({_FENCE})"]
        checks = [
            "WHEN (SELECT count(*) FROM fence) <> cardinality($1) THEN CAST(concat('fence') AS integer)"
        ]
        first = _OWN + 1
        for number in present:
            part, name = self._parts[number], f"step_{number}"
            expressions.append(f"{name} AS ({part.numbered(first)})")
            if self._steps[number].guard is not None:
                # Not to be folded into a constant, which would fail while the statement is planned.
                counted = f"(SELECT count(*) FROM {name}) <> cardinality(${first})"  # noqa: S608 - ours
                checks.append(f"WHEN {counted} THEN CAST(concat('{name}') AS integer)")
            first += len(part.processors)
        return f"WITH {', '.join(expressions)} SELECT CASE {' '.join(checks)} END"


# The partitions' rows are locked in the order of their numbers, as every transaction does it. (rule C1)
_PARTITIONS: Final = schema.partitions.name
_FENCE: Final = (
    f"UPDATE {_PARTITIONS} AS renewed SET lease_until = clock_timestamp() + $3::interval "  # noqa: S608 - ours
    f"FROM (SELECT partition, epoch FROM {_PARTITIONS} WHERE partition = ANY ($1::integer[]) "
    "ORDER BY partition FOR UPDATE) AS locked, unnest($1::integer[], $2::bigint[]) AS given(partition, epoch) "
    "WHERE locked.partition = given.partition AND locked.epoch = given.epoch "
    "AND renewed.partition = locked.partition RETURNING 1"
)


def is_definite(error: BaseException) -> bool:
    """Whether the server has refused the statement, so that nothing of it is stored."""
    state = sqlstate_of(error)
    if state is not None:
        return state[:2] in _DEFINITE
    return isinstance(error, ValueError | OverflowError)  # asyncpg could not encode it, and has sent nothing


def _part(step: Step, dialect: Dialect) -> _Part:
    statement: Any = step.bulk.statement.returning(literal_column("1"))
    compiled = statement.compile(dialect=dialect)
    given = [f"given_{name}" for name in step.bulk.names]
    arrays: list[Any] = [compiled.binds[name].type for name in given]
    if compiled.positiontup != given:
        raise AssertionError(f"the parameters of {compiled} are not in the order of its rows")
    return _Part(
        sql=str(compiled),
        processors=tuple(_processor(array.item_type, dialect) for array in arrays),
    )


def _processor(type_: AnyType, dialect: Dialect) -> Callable[[Any], Any] | None:
    return type_.dialect_impl(dialect).bind_processor(dialect)
