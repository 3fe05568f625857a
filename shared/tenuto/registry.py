"""What a deployment can run: its workflows and activities, with the schemas of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from pydantic import TypeAdapter

from tenuto.app import App
from tenuto.core.documents import read_document
from tenuto.core.signature import Signature
from tenuto.store.protocol import Member, Tally

__all__ = ["RegisteredActivity", "RegisteredWorkflow", "Registry", "describe_app", "registry_of"]


class RegisteredWorkflow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a workflow that a live orchestrator serves, or that has live instances."""

    name: str
    version: str | None = None
    served: bool = True
    """Whether a live orchestrator serves it; if not, its instances are STALLED."""
    live: int = 0
    """How many of its instances are alive."""
    input: dict[str, Any] | None = None
    """JSON Schema of what it takes; None where it takes nothing, or nothing is known."""
    output: dict[str, Any] | None = None
    """JSON Schema of what it returns; None where nothing is known."""


class RegisteredActivity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An activity of a live orchestrator's app."""

    name: str
    pool: str
    input: dict[str, Any] | None = None
    output: dict[str, Any] | None = None


class Registry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a deployment can run at present, in the order of the names."""

    workflows: list[RegisteredWorkflow] = []
    activities: list[RegisteredActivity] = []


_decoder = msgspec.json.Decoder(Registry)


def describe_app(app: App) -> bytes:
    """The app's own registry, as a member tells it once: JSON."""
    workflows = [
        RegisteredWorkflow(
            name=name,
            version=version,
            input=_input(definition.signature),
            output=_output(definition.signature),
        )
        for name in app.workflows
        for version in app.versions(name)
        if (definition := app.resolve(name, version)) is not None
    ]
    activities = [
        RegisteredActivity(
            name=activity.name,
            pool=activity.pool,
            input=_input(activity.signature),
            output=_output(activity.signature),
        )
        for activity in app.activities.values()
    ]
    return msgspec.json.encode(Registry(workflows=workflows, activities=activities))


def registry_of(members: Iterable[Member], live: Sequence[Tally]) -> Registry:
    """What all members together say, with the live instances of each workflow and version."""
    counts: dict[tuple[str, str | None], int] = {}
    for tally in live:
        place = (tally.workflow, tally.version)
        counts[place] = counts.get(place, 0) + tally.count
    workflows: dict[tuple[str, str | None], RegisteredWorkflow] = {}
    activities: dict[str, RegisteredActivity] = {}
    for member in members:
        told = _told(member)
        workflows |= {(one.name, one.version): one for one in told.workflows}
        activities |= {one.name: one for one in told.activities}
    for place, count in counts.items():
        name, version = place
        known = workflows.get(place, RegisteredWorkflow(name=name, version=version, served=False))
        workflows[place] = msgspec.structs.replace(known, live=count)
    return Registry(
        workflows=[workflows[place] for place in sorted(workflows, key=lambda p: (p[0], p[1] or ""))],
        activities=[activities[name] for name in sorted(activities)],
    )


def _told(member: Member) -> Registry:
    """What a member says; of an older release, or one that nobody understands, the names alone."""
    try:
        return read_document(_decoder, member.schemas)
    except msgspec.DecodeError:
        return Registry(
            workflows=[
                RegisteredWorkflow(name=name, version=version)
                for name, versions in member.workflows.items()
                for version in versions or (None,)
            ],
            activities=[RegisteredActivity(name=n, pool=pool) for n, pool in member.activities.items()],
        )


def _input(signature: Signature) -> dict[str, Any] | None:
    return None if signature.input_parameter is None else _schema(lambda: signature.input_hint)


def _output(signature: Signature) -> dict[str, Any] | None:
    return _schema(lambda: signature.output_hint)


def _schema(hint: Callable[[], Any]) -> dict[str, Any] | None:
    """The JSON Schema of a type hint; None where it says nothing, or nobody can express it."""
    try:
        found = hint()
        if found is Any:
            return None
        try:
            return msgspec.json.schema(found)
        except TypeError:
            return TypeAdapter(found).json_schema()
    except Exception:  # noqa: BLE001 - a hint may be anything; the function runs all the same, and is listed
        return None
