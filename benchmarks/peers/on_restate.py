"""Restate: one server, one service process; steps run in the handler, or with `--variant dispatched` as calls of a
service of their own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import aiohttp
import driving
import restate
import uvloop

steps = restate.Service("Steps")
bench = restate.Service("Bench")


@steps.handler()
async def add_one(ctx: restate.Context, number: int) -> int:
    """The shortest step, as a handler that is called."""
    del ctx
    return number + 1


async def plus_one(number: int) -> int:
    """The shortest step, in the workflow's own process."""
    return number + 1


@bench.handler()
async def chain(ctx: restate.Context, count: int) -> int:
    """Steps one after the other."""
    value = 0
    for _ in range(count):
        value = await ctx.run_typed("add_one", plus_one, number=value)
    return value


@bench.handler()
async def dispatched_chain(ctx: restate.Context, count: int) -> int:
    """Calls one after the other."""
    value = 0
    for _ in range(count):
        value = await ctx.service_call(add_one, arg=value)
    return value


@bench.handler()
async def fanout(ctx: restate.Context, width: int) -> int:
    """Steps side by side."""
    running = [ctx.run_typed("add_one", plus_one, number=number) for number in range(width)]
    return sum([await done for done in await restate.gather(*running)])


@bench.handler()
async def dispatched_fanout(ctx: restate.Context, width: int) -> int:
    """Calls side by side."""
    running = [ctx.service_call(add_one, arg=number) for number in range(width)]
    return sum([await done for done in await restate.gather(*running)])


@bench.handler()
async def noop(ctx: restate.Context, number: int) -> int:
    """Nothing at all."""
    del ctx
    return number


app = restate.app([bench, steps])


def server_settings(ingress: int, admin: int, node: int, folder: Path) -> str:
    """What `restate-server` is told; all else, durability included, is its default for one node."""
    return f"""
base-dir = "{folder}/data"
bind-address = "127.0.0.1:{node}"
advertised-address = "http://127.0.0.1:{node}"
listen-mode = "tcp"
disable-telemetry = true
[ingress]
bind-address = "127.0.0.1:{ingress}"
[admin]
bind-address = "127.0.0.1:{admin}"
"""


async def measure(load: driving.Load, variant: str, *, ingress: int, admin: int, service: int) -> None:
    """Register the service, warm up, and measure."""
    handler = f"dispatched_{load.workload}" if variant and load.workload != "noop" else load.workload
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        body = {"uri": f"http://127.0.0.1:{service}"}
        async with session.post(f"http://127.0.0.1:{admin}/deployments", json=body) as answer:
            answer.raise_for_status()

        async def run(argument: int) -> int:
            url = f"http://127.0.0.1:{ingress}/Bench/{handler}"
            async with session.post(url, json=argument) as answer:
                answer.raise_for_status()
                return json.loads(await answer.read())

        await driving.drive(load.warm_up(), run)
        driving.report(load, await driving.drive(load, run))


def main() -> None:
    """Measure on a server of its own."""
    load, given = driving.load_from_arguments()
    ingress, admin, node, service = (driving.free_port() for _ in range(4))
    here = Path(__file__).parent
    program = here / "node_modules/.bin/restate-server"
    with driving.scratch() as folder:
        settings = folder / "restate.toml"
        settings.write_text(server_settings(ingress, admin, node, folder))
        serve = [sys.executable, "-m", "hypercorn", "--worker-class", "uvloop", "--log-level", "ERROR"]
        serve += ["--bind", f"127.0.0.1:{service}", "on_restate:app"]
        server = [os.fspath(program), "--config-file", str(settings), "--no-logo"]
        log = folder / "server.log"
        with (
            driving.running(server, log, RUST_LOG="warn"),
            driving.running(serve, folder / "service.log", PYTHONPATH=str(here)),
        ):
            for port in (admin, ingress, service):
                driving.wait_for_port(port)
            uvloop.run(measure(load, given.variant, ingress=ingress, admin=admin, service=service))


if __name__ == "__main__":
    main()
