"""The application: what is mounted where."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from tenuto.client import Client
from tenuto.settings import GatewaySettings
from tenuto_gateway.http import (
    bulk,
    dapr,
    deployment,
    document,
    health,
    histories,
    instances,
    requests,
    schedules,
    starts,
    updates,
)
from tenuto_gateway.http.callers import callers_of
from tenuto_gateway.http.context import Context
from tenuto_gateway.http.guard import Guard
from tenuto_gateway.http.listings import Listings
from tenuto_gateway.http.measures import Measures
from tenuto_gateway.http.problems import HANDLERS

__all__ = ["application", "make_app"]


def application() -> FastAPI:
    """The routes alone, without a client to serve them: what the OpenAPI document is made of."""
    app = FastAPI(
        title="Tenuto",
        version=version("tenuto"),
        description="Durable workflows over HTTP.",
        exception_handlers={**HANDLERS, dapr.DaprError: dapr.on_error},
        redirect_slashes=False,
        openapi_url=None,  # it is ours: `document`
        # One span for each request, by the process's own provider, is what there is to tell.
        telemetry={"operation_spans": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    # Not included, which would wrap them: the guard wants to know which route it was.
    for module in (
        starts,
        instances,
        histories,
        requests,
        updates,
        bulk,
        schedules,
        deployment,
        health,
        document,
    ):
        app.router.routes.extend(module.router.routes)
    dapr.add_to(app)
    return app


def make_app(client: Client, settings: GatewaySettings) -> tuple[ASGIApp, Context]:
    """The gateway as an ASGI application over a client, which must be open while it serves; and what its routes share.

    Raises:
        SettingsError: who may call is not settled (`callers_of`).
    """
    who, measures = callers_of(settings), Measures()
    listings = Listings(client, interval=settings.poll_interval)
    context = Context(client=client, settings=settings, listings=listings)
    app = application()
    app.state.context, app.state.measures = context, measures
    guarded: ASGIApp = Guard(app, settings=settings, who=who, measures=measures)
    origins = [origin.strip() for origin in settings.http_cors_origins.split(",") if origin.strip()]
    if origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["location", "retry-after", "link"],
        )
    return guarded, context
