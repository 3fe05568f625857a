"""Python's garbage collector, set up for a process that serves.

Executions live long and leave little garbage in cycles, so looking for it as often as Python does by default would cost
an orchestrator a third of its processor time (docs/performance.md).
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["collect_seldom"]

_THRESHOLDS: Final = (50_000, 20, 20)
"""New objects between looks at the youngest, and looks at each generation between those at the next older one."""


def collect_seldom() -> None:
    """Look for garbage less often, and never among what is there now. For processes of Tenuto's own, once they have
    started; what a user's own process does about garbage is the user's affair."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
