"""`tenuto replay` and `tenuto workflow export`: whether today's code fits the histories of yesterday."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from tenuto import App, Client
from tenuto.core.histories import decode_document, encode_document, replay_document
from tenuto.core.status import Status
from tenuto.errors import TenutoError, UsageError
from tenuto.settings import ClientSettings
from tenuto.store.protocol import InstanceFilter
from tenuto_gateway.cli.command import FAILED, Shared, command
from tenuto_gateway.cli.output import Form, print_json, print_plain, say
from tenuto_gateway.cli.parameters import Output, Target, read_tags
from tenuto_gateway.targets import load_target

__all__ = ["add_to", "export"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one file."""

    file: str
    fits: bool
    error: str | None = None


def add_to(cli: typer.Typer) -> None:
    """Add the top-level command of this module."""
    cli.command("replay")(command(_replay))


def _replay(
    _shared: Shared,
    target: Target,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...", help="Histories that `tenuto workflow export` wrote; folders for all in them."
        ),
    ],
    *,
    output: Output = Form.TABLE,
) -> int:
    """Replay histories against the code of TARGET, and show where they do not fit. Exit code 0: all fit; 1: see
    there."""
    app = load_target(target)
    files = list(_files(paths))
    verdicts = [_judge(app, file) for file in files]
    misfits = [verdict for verdict in verdicts if not verdict.fits]
    if output is Form.JSON:
        print_json(verdicts)
    else:
        for verdict in misfits:
            print_plain(f"✗ {verdict.file}\n{verdict.error}\n")
        print_plain(f"{len(files) - len(misfits)} of {len(files)} histories fit")
    return FAILED if misfits else 0


async def export(
    shared: Shared,
    instance_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="These instances; by default all that fit the filter."),
    ] = None,
    *,
    to: Annotated[
        Path | None,
        typer.Option(
            help="A folder, for one file per instance. One instance goes to standard output without it."
        ),
    ] = None,
    status: Annotated[
        list[Status] | None, typer.Option(case_sensitive=False, help="Only of this status; may be repeated.")
    ] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only with this tag; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 1000,
) -> None:
    """Write the histories of instances down, for `tenuto replay`."""
    if to is None and len(instance_ids or ()) != 1:
        raise UsageError("Say where the histories go: --to FOLDER.")
    async with Client(shared.settings(ClientSettings)) as client:
        if instance_ids is None:
            where = InstanceFilter(
                statuses=frozenset(status or ()), workflow=workflow, tags=read_tags(tag or ())
            )
            page = await client.list_page(where, limit=limit)
            instance_ids = [instance.instance_id for instance in page.instances]
        for instance_id in instance_ids:
            body = encode_document(await client.get(instance_id).export())
            await asyncio.to_thread(_write, to, instance_id, body)
    if to is not None:
        say(f"{len(instance_ids)} histories are in {to}")


def _write(folder: Path | None, instance_id: str, body: bytes) -> None:
    if folder is None:
        sys.stdout.write(body.decode() + "\n")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{quote(instance_id, safe=' ')}.json").write_bytes(body + b"\n")


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Raises UsageError where there is nothing to replay."""
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob("*.json"))
            if not found:
                raise UsageError(f"There are no histories (*.json) in {path}.")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise UsageError(f"There is no file {path}.")


def _judge(app: App, file: Path) -> Verdict:
    try:
        replay_document(app.resolve, decode_document(file.read_bytes()))
    except msgspec.DecodeError as error:
        return Verdict(file=str(file), fits=False, error=f"it is no history of this release: {error}")
    except TenutoError as error:
        return Verdict(file=str(file), fits=False, error=str(error))
    return Verdict(file=str(file), fits=True)
