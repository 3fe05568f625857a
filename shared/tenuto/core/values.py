"""Small values that events and letters are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

__all__ = ["Failure", "OptionalRaw", "Parent", "RecordedRetry", "ReplyTo"]


if TYPE_CHECKING:
    OptionalRaw: TypeAlias = msgspec.Raw | None
else:
    # msgspec decodes nothing but `null` into `Raw | None`. As a plain Raw with the default None, a field that is there
    # is kept as it came, `null` too, and one that is not there is None.
    OptionalRaw = msgspec.Raw


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


class Failure(_Struct, frozen=True, kw_only=True):
    """How something failed, in words that survive the trip between processes and languages."""

    type: str
    """The exception's class name, without its module."""
    message: str
    stack: str = ""
    cause: Failure | None = None
    """The exception's `__cause__` (or unsuppressed `__context__`), and so on."""
    retryable: bool = True
    """False for `NonRetryableError`, for input that does not fit, and for what nobody serves."""
    sealed: OptionalRaw = None
    """Message, stack and cause, in place of those fields, where they are sealed (`tenuto.sealing`)."""


class Parent(_Struct, frozen=True, kw_only=True):
    """Which pending command of which instance waits for a child's outcome (rule N1)."""

    instance: str
    run: str
    generation: int
    command: int
    attempt: int


class RecordedRetry(_Struct, frozen=True, kw_only=True):
    """A `RetryPolicy` that must outlive the code that chose it. Times are in seconds, exception types are names."""

    max_attempts: int | None = None
    first_interval: float
    backoff_coefficient: float
    max_interval: float | None = None
    timeout: float | None = None
    jitter: float = 0.0
    non_retryable: list[str] = []


class ReplyTo(_Struct, frozen=True, kw_only=True):
    """Where the outcome of an instance is to be published when it ends (the public door's `reply_to`)."""

    queue: str
    correlation_id: str | None = None
