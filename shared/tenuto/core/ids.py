"""Identifiers that are derived, so that every replay and every re-send makes the same ones (rule N1).

All but the readable child id are name-based UUIDs (version 5, RFC 9562) in one namespace of Tenuto's own.
"""

from __future__ import annotations

import hashlib
import unicodedata
from uuid import UUID, uuid5

__all__ = [
    "MAX_INSTANCE_ID",
    "child_instance",
    "child_run",
    "child_seed",
    "code_uuid",
    "idempotency_key",
    "limited",
    "name_fault",
    "retried_instance",
    "valid_instance",
]

MAX_INSTANCE_ID = 256
"""Characters that an instance id may have."""

_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, lone surrogates (no UTF-8 has them), line and paragraph separators."""

_NAMESPACE = UUID("6f0c2a52-2f0b-5a39-9d3e-3b1a6a4c7e11")
_DIGEST = 16


def child_run(run: str, generation: int, command: int, attempt: int) -> str:
    """The run id of the child that attempt `attempt` of a command of the parent starts (rule N1)."""
    return uuid5(_NAMESPACE, f"run:{run}:{generation}:{command}:{attempt}").hex


def child_seed(run: str, generation: int, command: int, attempt: int) -> str:
    """The seed of that child."""
    return uuid5(_NAMESPACE, f"seed:{run}:{generation}:{command}:{attempt}").hex


def code_uuid(seed: str, generation: int, counter: int) -> UUID:
    """The `counter`-th uuid that the code of one generation draws."""
    return uuid5(_NAMESPACE, f"uuid:{seed}:{generation}:{counter}")


def idempotency_key(seed: str, generation: int, command: int) -> str:
    """What an activity may hand to a payment provider: one for all attempts of a call."""
    return f"{seed}:{generation}:{command}"


def child_instance(parent: str, run: str, number: int) -> str:
    """The default id of a run's `number`-th child (rule N3): `{parent}:{first 8 of its run}:{number}`."""
    return limited(parent, f":{run[:8]}:{number}")


def retried_instance(instance: str, attempt: int) -> str:
    """The id of a child whose call chose `instance` for the first attempt: `{instance}:{attempt}`."""
    return limited(instance, f":{attempt}")


def limited(stem: str, suffix: str) -> str:
    """`stem + suffix`; where that is too long for an instance id, a digest takes the stem's place."""
    if len(stem) + len(suffix) <= MAX_INSTANCE_ID:
        return stem + suffix
    return hashlib.blake2s(stem.encode(), digest_size=_DIGEST).hexdigest() + suffix


def valid_instance(instance: str) -> str:
    """The id itself.

    Raises:
        ValueError: it is not 1 to 256 characters long and printable.
    """
    if (fault := name_fault("The instance id", instance)) is not None:
        raise ValueError(fault)
    return instance


def name_fault(what: str, name: str) -> str | None:
    """What keeps a text from being an id or a name, in words that begin with `what`; None: nothing does."""
    if not 1 <= len(name) <= MAX_INSTANCE_ID:
        return f"{what} needs 1 to {MAX_INSTANCE_ID} characters; {name[:40]!a} has {len(name)}."
    for character in name:
        if unicodedata.category(character) in _UNPRINTABLE:
            return f"{what} {name!a} holds {character!a}, which cannot be printed."
    return None
