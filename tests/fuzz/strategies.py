"""What may come through a door: anything at all, what is nearly right, and what is right in form and wrong in fact."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

__all__ = ["ids", "messages", "nearly", "plain_json", "soup"]

_HUGE = 10**30
integers = st.one_of(st.integers(-3, 9), st.integers(-(2**64), 2**64), st.sampled_from([_HUGE, -_HUGE]))
texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "\0", "\u2028", "a" * 300, "tenuto.1.turns.0", "\U0010ffff"])
)
ids = st.sampled_from(["live", "known", "nobody", "\0", "x" * 300])
plain_json: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
"""Any JSON."""

_KINDS = st.sampled_from(
    [
        "results",
        "returned",
        "beat",
        "bell",
        "watch",
        "tasks",
        "notice",
        "Start",
        "Raise",
        "Terminate",
        "Purge",
        "Continue",
        "Answered",
        "ChildEnded",
        "Suspend",
        "Resume",
        "Repeat",
        "TimerFired",
        "ExecutionStarted",
    ]
)
_NAMES = st.sampled_from(
    [
        "type",
        "instance",
        "run",
        "generation",
        "command",
        "attempt",
        "name",
        "input",
        "workflow",
        "key",
        "queue",
        "reply_to",
        "tasks",
        "results",
        "result",
        "failure",
        "entries",
        "worker",
        "reuse",
        "tags",
        "version",
        "id",
    ]
)


def _reference() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "instance": ids,
            "run": texts,
            "generation": st.integers(-3, 2**70),
            "command": st.integers(-3, 2**70),
            "attempt": st.integers(-3, 2**70),
        }
    )


def _with(base: dict[str, Any], **more: Any) -> dict[str, Any]:
    return base | more


failures = st.fixed_dictionaries({"type": texts, "message": texts}, optional={"retryable": st.booleans()})
_results = st.builds(
    lambda ref, name, seconds, payload: _with(ref, name=name, seconds=seconds, **payload),
    _reference(),
    texts,
    st.floats(allow_nan=False, allow_infinity=False),
    st.one_of(
        st.fixed_dictionaries({"result": plain_json}),
        st.fixed_dictionaries({"failure": failures}),
        st.fixed_dictionaries({"result": plain_json, "failure": failures}),
        st.just({}),
    ),
)
_start_fields = {
    "workflow": texts,
    "input": plain_json,
    "instance_id": ids,
    "version": texts,
    "tags": st.dictionaries(texts, texts, max_size=3),
    "reuse": st.fixed_dictionaries({"action": st.sampled_from(["ERROR", "IGNORE", "TERMINATE", "EXPLODE"])}),
}
_tasks = st.builds(
    lambda ref, rest: ref | rest,
    _reference(),
    st.fixed_dictionaries(
        {"name": texts, "input": plain_json, "workflow": texts, "key": texts, "reply_to": texts},
        optional={"start_to_close": st.floats(-1, 1), "alone": st.booleans()},
    ),
)
messages: st.SearchStrategy[bytes] = st.one_of(
    st.builds(lambda r: {"type": "results", "results": r}, st.lists(_results, max_size=3)),
    st.builds(
        lambda t, c: {"type": "returned", "tasks": t, "counted": c},
        st.lists(_reference(), max_size=3),
        st.booleans(),
    ),
    st.builds(
        lambda t, w: {"type": "beat", "worker": w, "tasks": t}, st.lists(_reference(), max_size=3), texts
    ),
    st.builds(lambda i, q: {"type": "watch", "instance": i, "queue": q}, ids, texts),
    st.just({"type": "bell"}),
    st.builds(lambda t: {"type": "tasks", "tasks": t}, st.lists(_tasks, max_size=3)),
    st.fixed_dictionaries({}, optional=_start_fields),
).map(lambda document: json.dumps(document).encode())
"""Right in form, or as good as: what somebody could forge who has read the documentation."""

_BURIALS = (
    b'{"workflow": "busy", "input": %s}',
    (
        b'{"type": "results", "results": [{"instance": "live", "run": "r", "generation": 0, "command": 0, "attempt": 1, '
        b'"name": "n", "result": %s}]}'
    ),
    b'{"type": "Raise", "name": "n", "payload": %s}',
    (
        b'{"type": "tasks", "tasks": [{"instance": "i", "run": "r", "generation": 0, "command": 0, "attempt": 1, "name": "n", '
        b'"workflow": "w", "key": "k", "reply_to": "q", "input": %s}]}'
    ),
    b'{"no such field": %s}',
)


def _bury(document: bytes, depth: int) -> bytes:
    """A payload that is nested so deep."""
    return document % (b"[" * depth + b"]" * depth)


def _spoil(body: bytes, number: int) -> bytes:
    """With what is no UTF-8 in one of its strings."""
    strings = body.split(b': "')
    place = number % len(strings)
    return b': "'.join([*strings[:place], b"\xff" + strings[place], *strings[place + 1 :]])


nearly: st.SearchStrategy[bytes] = st.one_of(
    st.builds(
        lambda kind, rest: json.dumps({"type": kind} | rest).encode(),
        _KINDS,
        st.dictionaries(_NAMES, plain_json, max_size=5),
    ),
    st.builds(
        lambda body, at, junk: body[: at % (len(body) + 1)] + junk + body[at % (len(body) + 1) :],
        messages,
        st.integers(0, 500),
        st.binary(min_size=1, max_size=3),
    ),
    st.builds(lambda body, at: body[: at % (len(body) + 1)], messages, st.integers(0, 500)),
    st.builds(_spoil, messages, st.integers(0, 20)),
    st.builds(_bury, st.sampled_from(_BURIALS), st.sampled_from([100, 700, 850, 5000])),
    st.builds(
        lambda depth, end: b"[" * depth + end * depth, st.integers(1, 5000), st.sampled_from([b"", b"]"])
    ),
)
"""With something in it that is wrong."""

soup: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=60), nearly, messages, plain_json.map(lambda value: json.dumps(value).encode())
)
"""Anything at all."""
