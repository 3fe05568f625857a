"""The built-in workflows, which every orchestrator serves beside those of its app.

    lock       `tenuto.lock`: one instance per lock in use, a queue of tickets
    saga       `tenuto.saga`: runs the compensations of an instance that no longer can
    schedule   `tenuto.schedule`: one instance per schedule

They are workflows like any other: durable, exactly once, replayed. Their names and ids are reserved
(`tenuto.core.reserved`), and listings leave them out unless asked for.
"""

from __future__ import annotations

from tenuto.app import App
from tenuto.builtins.lock import lock
from tenuto.builtins.saga import saga
from tenuto.builtins.schedule import schedule
from tenuto.core.definitions import Resolver, WorkflowDefinition
from tenuto.core.reserved import LOCK, SAGA, SCHEDULE, is_reserved

__all__ = ["app", "resolver"]


class _Tenutos(App):
    _is_tenutos = True


app = _Tenutos("tenuto")
app.workflow(name=LOCK)(lock)
app.workflow(name=SAGA)(saga)
app.workflow(name=SCHEDULE)(schedule)


def resolver(users: App) -> Resolver:
    """Finds the workflows of an app, and the built-in ones."""

    def resolve(name: str, version: str | None) -> WorkflowDefinition | None:
        return (app if is_reserved(name) else users).resolve(name, version)

    return resolve
