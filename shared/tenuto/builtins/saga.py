"""`tenuto.saga`: undoes what an instance has done that was terminated, or failed, before it could do so itself."""
# ruff: noqa: SLF001 - it calls activities as they were recorded, which users have no need to

from __future__ import annotations

from typing import Any

import msgspec

from tenuto.core.context import WorkflowContext
from tenuto.core.reserved import Compensation
from tenuto.core.retry import RetryPolicy
from tenuto.errors import ActivityError, SagaError

__all__ = ["saga"]


async def saga(ctx: WorkflowContext, compensations: list[Compensation]) -> None:
    """Run the compensations in this order, each with its retry policy.

    Raises:
        SagaError: some failed for good; the others ran all the same.
    """
    errors: list[ActivityError] = []
    for each in compensations:
        call = msgspec.structs.replace(each.call, id=ctx._driver.next_id)
        retry = None if each.retry is None else RetryPolicy.recalled(each.retry)
        try:
            await ctx._perform(call, hint=Any, retry=retry)
        except ActivityError as error:
            errors.append(error)
    if errors:
        raise SagaError(errors)
