"""`tenuto dev`, `tenuto orchestrator`, `tenuto worker`: services in the foreground, until a signal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from tenuto.app import App
from tenuto.client import Client
from tenuto.doctor import Onlooker
from tenuto.errors import SettingsError
from tenuto.metrics import catalogue
from tenuto.settings import ClientSettings, GatewaySettings, OrchestratorSettings, WorkerSettings, mask_url
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.connections import reachable_broker, store_of
from tenuto_gateway.cli.output import facts, print_plain, say
from tenuto_gateway.cli.parameters import Target
from tenuto_gateway.dev import DevServer
from tenuto_gateway.ensemble import Ensemble, serve
from tenuto_gateway.front import gateway_of
from tenuto_gateway.garbage import collect_seldom
from tenuto_gateway.http.callers import Scope, new_token
from tenuto_gateway.targets import load_target
from tenuto_gateway.watching import measure
from tenuto_orchestrator import Orchestrator
from tenuto_worker import Worker
from tenuto_worker.processes import supervise

__all__ = ["add_to"]


class TokenScope(StrEnum):
    """What the holder of a token may do."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


def add_to(cli: typer.Typer) -> None:
    """Add the commands of this module."""
    cli.command("dev")(command(_dev))
    cli.command("orchestrator")(command(_orchestrator))
    cli.command("worker")(command(_worker))
    cli.command("gateway")(command(_gateway))
    cli.command("token")(command(_token))


async def _dev(shared: Shared, target: Target) -> None:
    """Serve an app in one process: orchestrator and workers, by default on the file tenuto.db alone."""
    app = load_target(target)
    settings = shared.settings(OrchestratorSettings)
    gateway = shared.settings(GatewaySettings) if find_spec("fastapi") and find_spec("uvicorn") else None
    server = DevServer(
        app,
        settings,
        shared.settings(WorkerSettings),
        shared.settings(ClientSettings),
        gateway_settings=gateway,
        measured=True,
    )
    await serve(server, ready=lambda: _announce(server))


def _announce(server: DevServer) -> None:
    collect_seldom()
    app = server.app
    say(f"tenuto dev serves the app {app.name}; Ctrl-C ends it")
    facts(
        {
            "database": mask_url(server.settings.database_url),
            "broker": mask_url(server.settings.broker_url),
            "workflows": ", ".join(sorted(app.workflows)) or "none",
            "activities": ", ".join(
                f"{name} ({entry.pool})" for name, entry in sorted(app.activities.items())
            )
            or "none",
            "replay check": server.settings.replay_check,
            "HTTP API": 'none; pip install "tenuto[gateway]"'
            if server.gateway is None
            else server.gateway.url,
        }
    )


async def _orchestrator(shared: Shared, target: Target) -> None:
    """Run an orchestrator: it takes its share of the partitions and drives the app's workflows."""
    app = load_target(target)
    settings = shared.settings(OrchestratorSettings)
    broker, store = reachable_broker(settings, "orchestrator"), store_of(settings)
    onlooker = Onlooker(store, broker, namespace=settings.namespace)
    measured = measure(settings, (*catalogue.ORCHESTRATOR, *catalogue.WORKER), onlooker=onlooker)
    orchestrator = Orchestrator(app, store, broker, settings, recorder=measured.recorder)
    service = Ensemble([store, broker], measured.around(orchestrator))
    await serve(service, ready=_ready(f"orchestrator of the app {app.name} is up"))


def _worker(
    shared: Shared,
    target: Target,
    *,
    pool: Annotated[str | None, typer.Option(help="The pool whose activities it runs [TENUTO_POOL].")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Activities at the same time in one process [TENUTO_CONCURRENCY].")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Worker processes [TENUTO_PROCESSES].")] = None,
) -> int | Coroutine[Any, Any, None]:
    """Run a worker: it executes the activities of one pool."""
    app = load_target(target)
    settings = shared.settings(WorkerSettings, pool=pool, concurrency=concurrency, processes=processes)
    _warn_of_unused_pool(app, settings.pool)
    if settings.processes > 1:
        if settings.metrics_port is not None:
            raise SettingsError(
                "TENUTO_METRICS_PORT is one port, and several worker processes cannot share it: unset it, or run "
                "one process in each container (TENUTO_PROCESSES=1) and more containers"
            )
        return supervise(_child(target, settings, shared), settings.processes)
    return _serve_worker(app, settings)


async def _serve_worker(app: App, settings: WorkerSettings) -> None:
    broker = reachable_broker(settings, f"worker {settings.pool}")
    measured = measure(settings, catalogue.WORKER)
    worker = Worker(app, broker, settings, recorder=measured.recorder)
    service = Ensemble([broker], measured.around(worker))
    await serve(service, ready=_ready(f"worker of the app {app.name}, pool {settings.pool}, is up"))


async def _gateway(
    shared: Shared,
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on [TENUTO_HTTP_HOST].")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on [TENUTO_HTTP_PORT].")] = None,
) -> None:
    """Serve the HTTP API: Tenuto's under /api/v1, Dapr's workflow API under /v1.0."""
    settings = shared.settings(GatewaySettings, http_host=host, http_port=port)
    # The environment may say where clients find the gateway: that is this one.
    client = Client(settings.model_copy(update={"api_url": None, "api_token": None}))
    gateway = gateway_of(client, settings)
    await serve(
        Ensemble([client], [gateway]),
        ready=lambda: say(f"tenuto gateway serves at {gateway.url}; Ctrl-C ends it"),
    )


def _token(
    _shared: Shared,
    name: Annotated[
        str, typer.Argument(help="Who will call with it: the audit names them.", show_default=False)
    ],
    *,
    scope: Annotated[TokenScope, typer.Option(help="What they may do.")] = TokenScope.OPERATE,
) -> None:
    """Make a bearer token for the HTTP API: the token, which is shown once, and its line for TENUTO_HTTP_TOKENS."""
    token, line = new_token(name, Scope[scope.value.upper()])
    print_plain(token)
    print_plain(line)
    say(
        "the first line is for the caller, the second for TENUTO_HTTP_TOKENS (or the file of TENUTO_HTTP_TOKENS_FILE)"
    )


def _child(target: str, settings: WorkerSettings, shared: Shared) -> list[str]:
    """The command of one of several worker processes."""
    return [
        *(sys.executable, "-m", "tenuto_gateway.cli", "worker", target, "--processes=1"),
        f"--pool={settings.pool}",
        f"--concurrency={settings.concurrency}",
        *shared.arguments(),
    ]


def _warn_of_unused_pool(app: App, pool: str) -> None:
    pools = {activity.pool for activity in app.activities.values()}
    if pool not in pools:
        say(
            f"no activity of the app {app.name} is in the pool {pool}; "
            f"its pools are: {', '.join(sorted(pools)) or 'none'}"
        )


def _ready(words: str) -> Callable[[], None]:
    def tell() -> None:
        collect_seldom()
        say(f"tenuto {words}")

    return tell
