"""What tests need: workflows with a clock that jumps, an engine that can be crashed, and contract suites.

    from tenuto.testing import Cluster, WorkflowEnvironment, assert_replays

`pytest` finds the fixture `workflow_environment` by itself (`pytest_plugin`).

`tenuto.testing.store_contract` and `tenuto.testing.broker_contract` hold any implementation against one suite.
"""

from tenuto.testing.cluster import CRASH_POINTS, Cluster
from tenuto.testing.environment import WorkflowEnvironment, WorkflowRun, WorkflowStuckError
from tenuto.testing.mocks import Call
from tenuto.testing.replaying import assert_replays

__all__ = [
    "CRASH_POINTS",
    "Call",
    "Cluster",
    "WorkflowEnvironment",
    "WorkflowRun",
    "WorkflowStuckError",
    "assert_replays",
]
