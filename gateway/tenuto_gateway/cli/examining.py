"""`tenuto doctor [INSTANCE]`: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from tenuto.broker.protocol import Broker
from tenuto.doctor import (
    Examination,
    Finding,
    Look,
    Onlooker,
    Patience,
    Severity,
    examine,
    examine_instance,
    healthy,
)
from tenuto.errors import BrokerError, StoreError
from tenuto.settings import Settings, mask_url
from tenuto_gateway.cli.command import FAILED, Shared, command
from tenuto_gateway.cli.connections import open_broker, open_store
from tenuto_gateway.cli.output import Form, moment, print_json, print_plain, print_table, say
from tenuto_gateway.cli.parameters import Output

__all__ = ["add_to"]

_MARKS = {Severity.PROBLEM: "✗", Severity.NOTE: "·"}


def add_to(cli: typer.Typer) -> None:
    """Add the command of this module."""
    cli.command("doctor")(command(_doctor))


async def _doctor(
    shared: Shared,
    instance: Annotated[
        str | None,
        typer.Argument(metavar="[INSTANCE]", help="Examine this instance only.", show_default=False),
    ] = None,
    *,
    waiting: Annotated[
        float, typer.Option(min=0, help="Seconds that messages, letters, timers and starts may wait.")
    ] = Patience().waiting.total_seconds(),
    unanswered: Annotated[
        float, typer.Option(min=0, help="Seconds that an activity may take.")
    ] = Patience().unanswered.total_seconds(),
    watch: Annotated[
        float,
        typer.Option(min=0, help="Seconds between two looks, to see whether leases stay with their owners."),
    ] = 2.0,
    output: Output = Form.TABLE,
) -> int:
    """Explain what is wrong with the deployment, or with one instance, and what to do. Exit code 0: nothing is; 1: see
    there."""
    patience = Patience(waiting=timedelta(seconds=waiting), unanswered=timedelta(seconds=unanswered))
    settings = shared.settings(Settings)
    examination: Examination | None = None
    try:
        async with _onlooker(settings) as onlooker:
            if instance is None:
                findings = await _deployment(onlooker, patience, watch)
            else:
                examination = examine_instance(await onlooker.look_at(instance), patience)
                findings = list(examination.findings)
    except (StoreError, BrokerError) as error:
        findings = [_away(error, settings)]
    if output is Form.JSON:
        print_json(_document(findings, examination))
    else:
        _tell(findings, examination)
    return 0 if healthy(findings) else FAILED


@contextlib.asynccontextmanager
async def _onlooker(settings: Settings) -> AsyncIterator[Onlooker]:
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings))
        broker: Broker | None = None
        if settings.broker_url.lower().startswith("memory:"):
            say("the broker is within another process (memory://): only the database is examined")
        else:
            broker = await stack.enter_async_context(open_broker(settings, "doctor"))
        yield Onlooker(store, broker, namespace=settings.namespace)


async def _deployment(onlooker: Onlooker, patience: Patience, watch: float) -> list[Finding]:
    earlier: Look | None = None
    if watch > 0:
        earlier = await onlooker.look()
        await asyncio.sleep(watch)
    return examine(await onlooker.look(), patience, earlier=earlier)


def _away(error: StoreError | BrokerError, settings: Settings) -> Finding:
    store = isinstance(error, StoreError)
    where = mask_url(settings.database_url if store else settings.broker_url)
    return Finding(
        kind="database-unusable" if store else "broker-unusable",
        what=str(error),
        remedy=f"nothing else can be examined without it; it is at {where}",
    )


def _tell(findings: Sequence[Finding], examination: Examination | None) -> None:
    if examination is not None:
        print_plain(f"{examination.instance} is {examination.status}")
        if examination.waits:
            rows = [(wait.kind, wait.subject, moment(wait.since), wait.says) for wait in examination.waits]
            print_table(("WAITS FOR", "WHICH", "SINCE", "HOW IT STANDS"), rows)
    for finding in sorted(findings, key=lambda finding: finding.severity is not Severity.PROBLEM):
        print_plain(f"{_MARKS[finding.severity]} {finding.what}")
        if finding.remedy:
            print_plain(f"    {finding.remedy}")
        if finding.instances and examination is None:
            print_plain(f"    instances: {', '.join(finding.instances)}")
    if healthy(findings):
        print_plain("nothing is wrong")


def _document(findings: Sequence[Finding], examination: Examination | None) -> dict[str, Any]:
    document: dict[str, Any] = {"healthy": healthy(findings), "findings": findings}
    if examination is not None:
        document |= {
            "instance": examination.instance,
            "status": examination.status,
            "waits": examination.waits,
        }
    return document
