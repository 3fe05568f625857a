"""The logger that workflow code gets: silent while the code only repeats what it did before."""

from __future__ import annotations

import logging

from tenuto.core.definitions import LogSource

__all__ = ["WorkflowLoggerAdapter"]


class WorkflowLoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Logs under `tenuto.workflow.<name>`, with the instance id on each record (`record.instance_id`)."""

    def __init__(self, source: LogSource) -> None:
        super().__init__(
            logging.getLogger(f"tenuto.workflow.{source.workflow}"),
            {"instance_id": source.instance_id, "workflow": source.workflow},
        )
        self._source = source

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        return not self._source.is_replaying and super().isEnabledFor(level)
