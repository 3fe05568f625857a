"""The orchestrator: partition ownership, the turn pipeline, timers and the outbox.

A reader may start at `service.py`, which puts the pieces together, and follow a message: `sources` (where work comes
from) → `work.Intake` → `pipeline` (gather, advance, commit) → `desk` (what becomes of one instance) → `settle` (after
the commit) → `outbox` (publish, confirm, delete). `ownership`, `recovery` and `guard` see to it that each partition has
one owner who knows all that is pending; `upkeep` makes up for what can be lost on the way.
"""

from tenuto_orchestrator.service import Orchestrator

__all__ = ["Orchestrator"]
