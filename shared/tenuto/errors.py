"""Everything that Tenuto raises.

    TenutoError
    ├── UsageError                    the caller's code or configuration is wrong
    │   ├── SettingsError             a setting is unknown, missing or malformed
    │   ├── TargetError               `module:app` cannot be loaded
    │   ├── UnknownWorkflowError      nobody serves a workflow of that name
    │   ├── PayloadError              a value cannot become JSON, or JSON does not fit the type hint
    │   │   └── PayloadSealedError    a sealed payload cannot be opened here
    │   └── WorkflowCodeError         workflow code did what no workflow may do (foreign awaitable, other thread)
    ├── RequestError                  a request cannot be granted in the instance's present state
    │   ├── AlreadyExistsError        the id has an instance, and the reuse policy says ERROR
    │   ├── NotFoundError             no instance has that id
    │   ├── InstanceOverError         the instance has ended
    │   └── GenerationOverError       a page of a history whose generation is over
    ├── OutcomeError                  what a caller waited for ended badly
    │   ├── ActivityError             inside a workflow: an activity failed
    │   ├── ChildWorkflowError        inside a workflow: a child failed or was terminated
    │   ├── SagaError                 inside a workflow: a saga was undone, and compensations failed
    │   ├── TaskCancelledError        inside a workflow: it awaited a task that it had cancelled itself
    │   ├── WorkflowFailedError       at a client: the workflow failed
    │   └── WorkflowTerminatedError   at a client: the workflow was terminated
    ├── ActivityCancelledError        inside an activity: nobody waits for it any more
    ├── NonRetryableError             raised by users: this failure is final, whatever the retry policy
    ├── NonDeterminismError           the code does not fit the recorded history
    ├── StalledError                  a turn cannot be taken until other code arrives
    ├── StoreError                    the database
    │   ├── StoreUnavailableError     it cannot be reached, or the outcome of a commit is unknown
    │   ├── DataRefusedError          it refuses this data; the same data will be refused again
    │   ├── ConflictError             a guarded row is not what the writer thought
    │   └── SchemaError               the schema is missing, older or newer than this program
    ├── BrokerError                   the message broker
    │   ├── BrokerUnavailableError    it cannot be reached, or the connection was lost
    │   └── QueueMissingError         a queue that should be there is not
    └── GatewayError                  the HTTP gateway cannot be reached, or cannot serve at present

Each message says what happened, to which instance or server, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenuto.core.events import Failure


class TenutoError(Exception):
    """The root of everything that Tenuto raises."""


class UsageError(TenutoError):
    """The caller's code or configuration is wrong; trying again will not help."""

    def __init__(self, message: str = "", *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        """The parameter that is wrong, where it is one of a request."""


class SettingsError(UsageError):
    """A setting is unknown, missing or malformed."""


class TargetError(UsageError):
    """A target such as `module:app` cannot be loaded."""


class UnknownWorkflowError(UsageError):
    """Nobody serves a workflow of that name."""


class PayloadError(UsageError):
    """A value cannot become JSON, or JSON does not fit the type hint."""


class PayloadSealedError(PayloadError):
    """A sealed payload cannot be opened: a codec or a key is missing here, or it is damaged. The message holds nothing
    of it."""


class WorkflowCodeError(UsageError):
    """Workflow code did what no workflow may do; the message names the line and the remedy."""


class RequestError(TenutoError):
    """A request cannot be granted in the present state of the instance."""


class AlreadyExistsError(RequestError):
    """The id has an instance already, and the reuse policy says ERROR for its status."""


class NotFoundError(RequestError):
    """No instance has that id."""


class InstanceOverError(RequestError):
    """The instance has ended and takes no more requests of this kind."""


class GenerationOverError(RequestError):
    """A page of a history was asked for whose generation is over: the instance has continued as new, or was started
    again. Read the present one from its beginning."""


class OutcomeError(TenutoError):
    """What a caller waited for ended badly. `failure` tells how."""

    def __init__(self, message: str, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.failure = failure


class ActivityError(OutcomeError):
    """Inside a workflow: an activity failed, after all the retries it was granted."""


class ChildWorkflowError(OutcomeError):
    """Inside a workflow: a child workflow failed or was terminated."""


class SagaError(OutcomeError):
    """Inside a workflow: a saga was undone, and `errors` are those of the compensations that failed, in the order in
    which they ran. Its `__cause__` is why the saga was undone."""

    def __init__(self, errors: Sequence[ActivityError]) -> None:
        self.errors = tuple(errors)
        described = "; ".join(str(error) for error in errors)
        super().__init__(f"{len(self.errors)} of the saga's compensations failed: {described}")


class TaskCancelledError(OutcomeError):
    """Inside a workflow: the code awaited a task that it had cancelled itself."""


class WorkflowFailedError(OutcomeError):
    """At a client: the workflow that it waited for failed."""


class WorkflowTerminatedError(OutcomeError):
    """At a client: the workflow that it waited for was terminated."""


class ActivityCancelledError(TenutoError):
    """Inside an activity, at a heartbeat: nobody waits for its outcome any more; clean up and end."""


class NonRetryableError(TenutoError):
    """Raise this (or a subclass) in an activity or a workflow: the failure is final whatever the retry policy."""


class NonDeterminismError(TenutoError):
    """The workflow code does not fit the recorded history. The message shows both side by side."""


class StalledError(TenutoError):
    """A turn cannot be taken until code that fits arrives. The history is untouched."""


class StoreError(TenutoError):
    """The database failed or refused."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached. If this was raised by a commit, its outcome is unknown (rule C3)."""


class DataRefusedError(StoreError):
    """The database definitely refused this data, and nothing of the transaction was stored (rule C6)."""


class ConflictError(StoreError):
    """A guarded row is not what the writer thought, and nothing of the transaction was stored (rule C1)."""


class SchemaError(StoreError):
    """The schema is missing, older or newer than this program; the message names the command to run."""


class BrokerError(TenutoError):
    """The message broker failed or refused."""


class BrokerUnavailableError(BrokerError):
    """The broker cannot be reached, or the connection was lost before the outcome was known."""


class QueueMissingError(BrokerError):
    """A queue that should be there is not: nobody declared it yet, or the broker was wiped (rule B1)."""


class GatewayError(TenutoError):
    """The HTTP gateway cannot be reached, or cannot serve at present. The message says if an outcome is unknown."""
