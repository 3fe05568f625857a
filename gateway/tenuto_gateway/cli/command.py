"""What all commands share: options, settings, logging, and the one place where errors become exit codes."""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

import typer

from tenuto.errors import OutcomeError, TenutoError
from tenuto.settings import Settings
from tenuto.tracing.setup import exporting
from tenuto_gateway.cli.logs import configure_logging
from tenuto_gateway.ensemble import run

__all__ = ["FAILED", "MISUSED", "Shared", "command"]

FAILED: Final = 1
"""Exit code: what was asked for was done, and ended badly."""
MISUSED: Final = 2
"""Exit code: it could not be done as asked: wrong arguments, wrong settings, a server that is not there."""

P = ParamSpec("P")
S = TypeVar("S", bound=Settings)

_PANEL = "Everywhere"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The options that every command takes. What was not given comes from the `TENUTO_…` variables."""

    database_url: Annotated[
        str | None,
        typer.Option(help="The database [TENUTO_DATABASE_URL].", metavar="URL", rich_help_panel=_PANEL),
    ] = None
    broker_url: Annotated[
        str | None,
        typer.Option(help="The message broker [TENUTO_BROKER_URL].", metavar="URL", rich_help_panel=_PANEL),
    ] = None
    namespace: Annotated[
        str | None,
        typer.Option(
            help="First part of the queues' names [TENUTO_NAMESPACE].", metavar="NAME", rich_help_panel=_PANEL
        ),
    ] = None
    log_level: Annotated[
        str | None,
        typer.Option(
            help="The least severe messages that are logged [TENUTO_LOG_LEVEL].",
            metavar="LEVEL",
            rich_help_panel=_PANEL,
        ),
    ] = None
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from.", rich_help_panel=_PANEL)
    ] = False

    def settings(self, of: type[S], **values: Any) -> S:
        """Settings of a service: the environment's, overridden by options and by `values` that are set.

        Raises:
            SettingsError: a value or a variable is wrong.
        """
        chosen: dict[str, Any] = {
            "database_url": self.database_url,
            "broker_url": self.broker_url,
            "namespace": self.namespace,
            "log_level": self.log_level,
            **values,
        }
        return of(**{name: value for name, value in chosen.items() if value is not None})

    def arguments(self) -> list[str]:
        """The options as the command line's arguments, for a child process."""
        named = {
            "--database-url": self.database_url,
            "--broker-url": self.broker_url,
            "--namespace": self.namespace,
            "--log-level": self.log_level,
        }
        given = [f"{name}={value}" for name, value in named.items() if value is not None]
        return [*given, "--debug"] if self.debug else given


def command(
    main: Callable[Concatenate[Shared, P], Coroutine[Any, Any, int | None] | int | None],
) -> Callable[..., None]:
    """Make a command of a function whose first parameter takes the shared options.

    The other parameters are the command's own, as typer reads them. A coroutine function is run on an event
    loop. What the function returns is the exit code. This is the one place where errors become messages and
    exit codes: an `OutcomeError` or a `TimeoutError` is 1, every other `TenutoError` is 2; anything else is a
    bug and keeps its traceback.
    """

    @functools.wraps(main)
    def invoke(*args: Any, **kwargs: Any) -> None:
        shared = Shared(**{name: kwargs.pop(name) for name in _options()})
        try:
            settings = shared.settings(Settings)
            configure_logging(settings)
            with exporting(settings, service=_service(main.__name__)):
                outcome = main(shared, *args, **kwargs)
                code = run(outcome) if isinstance(outcome, Coroutine) else outcome
        except (TenutoError, TimeoutError) as error:
            code = _explain(error, debug=shared.debug)
        raise typer.Exit(code or 0)

    own = list(inspect.signature(main, eval_str=True).parameters.values())[1:]
    parameters = sorted([*own, *_options().values()], key=lambda parameter: parameter.kind)
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # how typer learns of them
    invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return invoke


def _service(name: str) -> str:
    """What a command is called in traces."""
    return "tenuto-" + name.strip("_").replace("_", "-")


@functools.cache
def _options() -> dict[str, inspect.Parameter]:
    signature = inspect.signature(Shared, eval_str=True)
    return dict(signature.parameters)


def _explain(error: Exception, *, debug: bool) -> int:
    """Say what went wrong on one line of standard error, with the traceback if it was asked for."""
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"tenuto: {' '.join(str(error).split())}\n")
    return FAILED if isinstance(error, OutcomeError | TimeoutError) else MISUSED
