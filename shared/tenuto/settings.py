"""Settings: one class per service, read from the environment.

A setting `database_url` is, in this order of precedence: a constructor argument, the variable
`TENUTO_DATABASE_URL`, the content of the file that `TENUTO_DATABASE_URL_FILE` names, a line of `.env` in the
working directory, the file `tenuto_database_url` in the secrets directory (`TENUTO_SECRETS_DIR`, else
`/run/secrets` where that exists), and at last its default. All services may share one environment, so each class
accepts the variables of all of them; a `TENUTO_…` variable that none of them knows is refused rather than
silently ignored.

`python -m tenuto.settings` prints the reference that `docs/settings.md` holds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, TypeAdapter

from tenuto.environment import Environment, mask_url, variable_of

__all__ = [
    "ClientSettings",
    "GatewaySettings",
    "OrchestratorSettings",
    "Settings",
    "WorkerSettings",
    "mask_url",
    "reference",
]

_MiB = 1024 * 1024

_BYTES: TypeAdapter[ByteSize] = TypeAdapter(ByteSize)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Size: TypeAlias = Annotated[int, BeforeValidator(_BYTES.validate_python), Field(ge=1)]
"""A number of bytes; from the environment also with a unit, such as `256MiB`."""
LogLevel: TypeAlias = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]


class Settings(Environment):
    """What every service must know."""

    heading: ClassVar[str] = "All services"

    database_url: str = Field(
        default="sqlite+aiosqlite:///tenuto.db",
        min_length=1,
        description="The database, as an SQLAlchemy URL: `sqlite+aiosqlite:///file.db` or "
        "`postgresql+asyncpg://user:password@host/database`.",
    )
    broker_url: str = Field(
        default="memory://",
        min_length=1,
        description="The message broker: `memory://` (within one process) or `amqp://user:password@host/vhost` "
        "(`amqps://` with TLS).",
    )
    namespace: str = Field(
        default="tenuto",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="The first part of every queue's name; one application per namespace. Lower-case letters, "
        "digits, `-` and `_`.",
    )
    database_schema: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="The database schema that holds the tables; by default the connection's own. PostgreSQL only.",
    )
    layout: Count = Field(
        default=1,
        description="The number in the queues' names. It changes together with anything that is fixed when a queue "
        "is declared, such as the queue type.",
    )
    log_level: LogLevel = Field(default="WARNING", description="The least severe messages that are logged.")
    log_format: Literal["console", "json"] = Field(
        default="console", description="Log lines for people, or one JSON object per line."
    )
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None,
        description="The port on which an orchestrator or a worker serves Prometheus [metrics](metrics.md) at "
        "`/metrics`, and the probes `/healthz` and `/readyz`; none by default. Needs `tenuto[metrics]`.",
    )
    tracing: Literal["auto", "otlp", "off"] = Field(
        default="auto",
        description="Whether a process exports spans over OTLP: `otlp` does, to `OTEL_EXPORTER_OTLP_ENDPOINT` or "
        "`http://localhost:4318`; `auto` does where that variable is set; `off` makes no spans, whoever has set up "
        "what for. Needs `tenuto[tracing]`. See [Tracing](tracing.md).",
    )
    trace_statements: bool = Field(
        default=False,
        description="Whether spans of the database's statements are exported as well, by OpenTelemetry's "
        "instrumentation of SQLAlchemy: those of commands and gateways lie in the request's span, an orchestrator's, "
        "which serve many instances, stand alone.",
    )
    trace_url: str | None = Field(
        default=None,
        description="Where people look at a trace, with `{trace_id}` in it, such as "
        "`https://jaeger.example/trace/{trace_id}`: `tenuto workflow show` prints the link.",
    )
    metrics_dapr_names: bool = Field(
        default=False,
        description="Whether metrics of workflows and activities are served under the names of Dapr's sidecar besides.",
    )
    connect_timeout: Seconds = Field(
        default=30.0,
        description="Seconds to wait, at the start, for a database or a broker that is still starting.",
    )
    max_payload_bytes: Size = Field(
        default=8 * _MiB,
        description="Bytes of the largest payload (an input, a result, an event) that is taken; a larger one is "
        "refused where it is handed over. Units such as `8MiB` are understood.",
    )
    payload_codec: str | None = Field(
        default=None,
        description="What becomes of payloads before they are stored or sent, in order: `zlib`, `aes-gcm`, or an "
        "object of yours as `module:object`, with commas between; nothing by default. See [Payloads](payloads.md).",
    )
    payload_keys: SecretStr | None = Field(
        default=None,
        description="The keys of `aes-gcm`: `id:base64`, one per line, newest first. The first encrypts, all decrypt.",
    )
    payload_store: str | None = Field(
        default=None,
        description="Where payloads over the threshold are kept apart: `database`, or within reach of all processes "
        "`file:///…`, `s3://…`, `gs://…`, `az://…`; one for each deployment. Nowhere by default: they stay "
        "in histories and messages. See [Payloads](payloads.md).",
    )
    payload_threshold: Size = Field(
        default=256 * 1024,
        description="Bytes over which a payload is kept apart, if there is a payload store.",
    )
    max_message_bytes: Size = Field(
        default=16 * _MiB,
        description="Bytes of the largest message, which must not exceed the broker's own limit. Units such as "
        "`16MiB` are understood.",
    )


class OrchestratorSettings(Settings):
    """What `tenuto orchestrator` must know."""

    heading: ClassVar[str] = "Orchestrator"

    partitions: Annotated[int, Field(ge=1, le=2_000)] = Field(
        default=16,
        description="Into how many partitions the instances are divided. Recorded in the database at the first "
        "start; all orchestrators must agree.",
    )
    queue_type: Literal["quorum", "classic"] = Field(
        default="quorum",
        description="The type of the engine's queues: `quorum` survives the loss of a broker node, `classic` is "
        "faster on a single node.",
    )
    lease: Seconds = Field(
        default=4.0,
        description="Seconds for which a partition is owned without renewal: how soon others take over from an "
        "orchestrator that was killed.",
    )
    batch: Count = Field(
        default=500, description="Arrivals (messages, letters, due timers) that are committed together."
    )
    prefetch: Annotated[int, Field(ge=1, le=65_535)] = Field(
        default=200, description="Unacknowledged messages that the broker hands to the owner of a partition."
    )
    residents: Count = Field(
        default=10_000, description="Instances whose executions are kept in memory, at most."
    )
    resident_bytes: Size = Field(
        default=256 * _MiB,
        description="Bytes of memory for executions that are kept, by estimate. Units such as `256MiB` are "
        "understood.",
    )
    inbox_interval: Seconds = Field(
        default=2.0,
        description="Seconds between looks into the inbox of a partition whose bell does not ring.",
    )
    timer_horizon: Seconds = Field(
        default=300.0, description="Seconds ahead for which timers are kept in memory."
    )
    outbox_limit: Count = Field(
        default=10_000,
        description="Messages that the broker has not confirmed yet at which no more work is gathered.",
    )
    seen_window: Seconds = Field(
        default=86_400.0,
        description="Seconds for which a message id is remembered, so that the same start message does not start "
        "twice.",
    )
    event_window: Seconds = Field(
        default=86_400.0,
        description="Seconds for which an event raised with `create` waits for its instance to be started.",
    )
    retain_completed: Seconds | None = Field(
        default=None,
        description="Seconds after which an instance that COMPLETED is purged; by default never.",
    )
    retain_failed: Seconds | None = Field(
        default=None, description="Seconds after which an instance that FAILED is purged; by default never."
    )
    retain_terminated: Seconds | None = Field(
        default=None,
        description="Seconds after which an instance that was TERMINATED is purged; by default never.",
    )
    resend_after: Seconds = Field(
        default=60.0,
        description="Seconds without an answer after which an activity that neither a queue nor a worker holds is "
        "sent again. Doubles each time.",
    )
    beat_life: Seconds = Field(
        default=20.0,
        description="Seconds for which a worker's beat stands for the activities that it holds; several times the "
        "workers' `beat_interval`.",
    )
    max_losses: Count = Field(
        default=3, description="How often a task may be lost with its worker before its activity fails."
    )
    replay_check: Literal["never", "always"] = Field(
        default="never",
        description="`always` replays an instance from nothing after every turn, so that nondeterministic workflow "
        "code shows at once. For development and tests.",
    )
    history_warning: Count = Field(
        default=10_000,
        description="Events in the history of one instance (one generation) at which a warning advises it to continue "
        "as new.",
    )
    history_limit: Count = Field(
        default=500_000,
        description="Events in the history of one instance (one generation) at which it is stalled, instead of growing "
        "further.",
    )
    waiting_events: Count = Field(
        default=10_000,
        description="External events waiting for one instance, taken by nobody, at which others are refused.",
    )
    turn_warning: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=1.0,
        description="Seconds for which workflow code may keep an orchestrator from everything else before a warning "
        "names its line; 0: no warning.",
    )
    local_concurrency: Count = Field(
        default=100, description="Local activities that run at the same time in one orchestrator."
    )
    fan_out_window: Count = Field(
        default=1_000,
        description="Activities of one turn that are with the workers at the same time, waiting or running: the others "
        "follow as they are answered, so that a wide fan-out does not make everybody wait. It should be more than all "
        "slots of a pool's workers together.",
    )
    fold_tasks: Count = Field(default=20, description="Activity tasks that one message may carry.")
    fold_seconds: Seconds = Field(
        default=0.01,
        description="Seconds that the tasks folded into one message are expected to take together, at most.",
    )
    stall_grace: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=10.0,
        description="Seconds for which an instance that no code fits is held before its status becomes STALLED.",
    )


class WorkerSettings(Settings):
    """What `tenuto worker` must know."""

    heading: ClassVar[str] = "Worker"

    pool: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="The pool whose activities it runs.",
    )
    concurrency: Count = Field(default=64, description="Activities that run at the same time in one process.")
    processes: Count = Field(default=1, description="Worker processes.")
    prefetch: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None,
        description="Unacknowledged messages that the broker hands to one process; by default what keeps its slots "
        "busy.",
    )
    beat_interval: Seconds = Field(
        default=5.0,
        description="Seconds between beats, which report the activities that have been held longer than that.",
    )
    hold_after: Seconds = Field(
        default=600.0,
        description="Seconds after which the delivery of an activity that still runs, or waits, is acknowledged: from "
        "then on the worker's beats stand for it. Well below the broker's consumer timeout, which is 30 minutes by "
        "default.",
    )
    grace: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Seconds that running activities are given to end when the worker is told to stop.",
    )


class ClientSettings(Settings):
    """What a `Client` must know."""

    heading: ClassVar[str] = "Client"

    request_timeout: Seconds = Field(
        default=30.0, description="Seconds to wait, by default, until a request has taken effect."
    )
    poll_interval: Seconds = Field(
        default=1.0,
        description="Seconds between looks into the database for what no notification has told, all waits in one "
        "query.",
    )
    api_url: str | None = Field(
        default=None,
        min_length=1,
        description="The HTTP gateway, such as `https://tenuto.example`: clients then go through it, and need neither "
        "the database nor the broker. Needs `tenuto[http]`.",
    )
    api_token: str | None = Field(
        default=None, min_length=1, repr=False, description="The bearer token for the gateway."
    )


class GatewaySettings(ClientSettings):
    """What `tenuto gateway` must know."""

    heading: ClassVar[str] = "Gateway"

    http_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="The address on which it listens. Any but a loopback address needs `TENUTO_HTTP_TOKENS`, unless "
        "`TENUTO_HTTP_AUTHENTICATION` is `off`.",
    )
    http_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=8420, description="The port on which it listens; 0: any that is free."
    )
    http_tokens: str = Field(
        default="",
        repr=False,
        description="Who may call, one `name:scope:hash` per line (or separated by commas): the scope is `read`, "
        "`operate` or `admin`, the hash is the SHA-256 of the bearer token. `tenuto token` makes such lines.",
    )
    http_authentication: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto`: callers need a token if there are tokens, and away from loopback there must be some. "
        "`off`: everybody who reaches the port may do everything.",
    )
    http_tls_certificate: Path | None = Field(
        default=None, description="The file of the certificate chain, for HTTPS; with `TENUTO_HTTP_TLS_KEY`."
    )
    http_tls_key: Path | None = Field(default=None, description="The file of the certificate's private key.")
    http_max_body_bytes: Size = Field(default=4 * _MiB, description="Bytes of the largest request body.")
    http_max_header_bytes: Size = Field(
        default=16 * 1024, description="Bytes that a request's line and headers may have together."
    )
    http_max_wait: Seconds = Field(
        default=60.0, description="Seconds for which a request may wait for an instance, at most."
    )
    http_cors_origins: str = Field(
        default="",
        description="Origins whose pages may call it from a browser, separated by commas; none by default.",
    )


_CLASSES: tuple[type[Settings], ...] = (
    Settings,
    OrchestratorSettings,
    WorkerSettings,
    ClientSettings,
    GatewaySettings,
)


def reference() -> str:
    """The reference of all settings, in Markdown: the content of `docs/settings.md`."""
    head = (__doc__ or "").partition("\n\n")[2].rpartition("\n\n")[0]
    parts = ["# Settings\n", "<!-- Generated by `python -m tenuto.settings`; do not edit. -->\n", head + "\n"]
    for settings in _CLASSES:
        parts += [f"## {settings.heading}\n", "| Variable | Default | Meaning |", "|---|---|---|"]
        inherited = frozenset[str]().union(
            *(base.model_fields for base in _CLASSES if base in settings.__mro__[1:])
        )
        for name, field in settings.model_fields.items():
            if name not in inherited:
                default = "" if field.default in (None, "") else f"`{field.default}`"
                parts.append(f"| `{variable_of(name)}` | {default} | {field.description} |")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
