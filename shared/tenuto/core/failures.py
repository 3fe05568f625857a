"""Exceptions as `Failure`s: what is left of them when they travel between processes and languages."""

from __future__ import annotations

import traceback

from tenuto.core.events import Failure
from tenuto.core.locate import is_core
from tenuto.errors import NonRetryableError, UsageError

__all__ = ["describe", "failure_from", "payload_failure"]

_MAX_CAUSES = 16
_MAX_FRAMES = 50


def failure_from(error: BaseException) -> Failure:
    """An exception as a `Failure`: its class name, message, stack trace and chain of causes.

    A cause is the `__cause__`, or the `__context__` unless it is suppressed. For an `OutcomeError` (an
    activity's or a child's failure that the workflow let out) it is the failure that it carries, unless it was
    raised from something else. `NonRetryableError` and misuses (`UsageError`) are not retryable: trying again
    cannot help.
    """
    return _failure(error, _MAX_CAUSES)


def payload_failure(message: str) -> Failure:
    """The failure of a call whose payload does not fit its type hint."""
    return Failure(type="PayloadError", message=_text(message), retryable=False)


def describe(failure: Failure) -> str:
    """`Type: message`, or the type alone where there is no message."""
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def _failure(error: BaseException, depth: int) -> Failure:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_core(frame.filename)]
    return Failure(
        type=type(error).__name__,
        message=_message(error),
        stack=_text("".join(traceback.format_list(frames[-_MAX_FRAMES:]))),
        cause=_cause(error, depth - 1),
        retryable=not isinstance(error, NonRetryableError | UsageError),
    )


def _cause(error: BaseException, depth: int) -> Failure | None:
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is None:
        carried = getattr(error, "failure", None)
        return carried if isinstance(carried, Failure) else None
    return _failure(cause, depth) if depth > 0 else None


def _message(error: BaseException) -> str:
    try:
        return _text(str(error))
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything; the failure must still be told
        return f"(its message cannot be shown: {type(broken).__name__})"


def _text(text: str) -> str:
    """Text that JSON can carry: lone surrogates (undecodable file names have them) become question marks."""
    return text.encode("utf-8", "replace").decode()
