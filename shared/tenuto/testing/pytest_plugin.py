"""Fixtures for the tests of workflows. pytest loads them wherever Tenuto is installed.

def test_fulfil(workflow_environment):
    env = workflow_environment(app)
    ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from datetime import datetime

    from tenuto.app import App
    from tenuto.testing.environment import WorkflowEnvironment

__all__ = ["MakeEnvironment", "workflow_environment"]


class MakeEnvironment(Protocol):
    """Makes a `WorkflowEnvironment`."""

    def __call__(self, app: App, *others: App, now: datetime = ...) -> WorkflowEnvironment: ...


@pytest.fixture
def workflow_environment() -> Iterator[MakeEnvironment]:
    """Makes environments for workflows, and closes them after the test."""
    from tenuto.testing.environment import WorkflowEnvironment  # noqa: PLC0415 - most runs of pytest do without

    made: list[WorkflowEnvironment] = []

    def make(app: App, *others: App, **options: datetime) -> WorkflowEnvironment:
        made.append(WorkflowEnvironment(app, *others, **options))
        return made[-1]

    yield make
    for environment in made:
        environment.close()
