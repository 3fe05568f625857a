"""Worker pools: execute activities, and answer their owners.

A worker needs the broker and the code of the activities; it knows no database and no workflow. It may import
`tenuto`, and nothing of the other services.
"""

from __future__ import annotations

from tenuto_worker.processes import supervise
from tenuto_worker.worker import Worker

__all__ = ["Worker", "supervise"]
