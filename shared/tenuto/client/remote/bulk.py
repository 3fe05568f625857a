"""Requests to many instances, as the gateway's bulk routes take them."""

from __future__ import annotations

from typing import Any

from tenuto.client.bulk import BulkVerb
from tenuto.client.documents import Reason, TerminateRequest
from tenuto.core.letters import Purge, Resume, Suspend, Terminate

__all__ = ["bulk_route"]


def bulk_route(letter: BulkVerb) -> tuple[str, dict[str, Any], Any]:
    """The last part of the path, the query beside the filter, and the body (None: there is none)."""
    match letter:
        case Suspend(reason=reason):
            return "suspend", {}, Reason(reason=reason)
        case Resume(reason=reason):
            return "resume", {}, Reason(reason=reason)
        case Terminate(output=output, reason=reason, recursive=recursive):
            return "terminate", {}, TerminateRequest(output=output, reason=reason, recursive=recursive)
        case Purge(force=force, recursive=recursive):
            return "purge", {"force": force, "recursive": recursive}, None
