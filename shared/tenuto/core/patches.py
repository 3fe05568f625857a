"""Patches: how the code of a workflow changes under its live instances.

    if ctx.is_patched("two-step payment"):     # new code, for new instances and those that come here first
        ...
    else:                                      # what instances from before have begun
        ...

The first time that an instance's code comes to a patch, the history records it, and from then on every replay of that
history goes the new way. A history that was already past that place has no such record, and keeps to the old way. What
was answered once in an execution stays the answer, so a loop does not change its way in the middle.
"""

from __future__ import annotations

from tenuto.core.driver import Driver
from tenuto.core.events import PatchRecorded

__all__ = ["Patches"]


class Patches:
    """The part of `WorkflowContext` that tells old histories from new ones."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._patches: dict[str, bool] = {}

    def is_patched(self, patch: str) -> bool:
        """Whether this instance goes the new way: so does each that comes here for the first time, and from then on.

        False only where the history shows that the instance was past this place before the patch was made. The answer
        for one patch is the same throughout one generation.

        Args:
            patch: names the change; never used for another one in the same workflow.
        """
        return self._pass(patch, deprecated=False)

    def deprecate_patch(self, patch: str) -> None:
        """Instead of `is_patched`, once no instance from before the patch is alive and the old way is deleted.

        It lets histories that have the patch replay. When no instance is alive that `is_patched` recorded, this call
        can be deleted as well: histories that were written with it replay without it.
        """
        self._pass(patch, deprecated=True)

    def _pass(self, patch: str, *, deprecated: bool) -> bool:
        driver = self._driver
        if not driver.check():
            return False
        known = self._patches.get(patch)
        if known is None:
            passed = PatchRecorded(id=driver.next_id, patch=patch, deprecated=deprecated)
            known = self._patches[patch] = driver.recorder.patch(passed)
        return known
