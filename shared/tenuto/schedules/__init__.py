"""Schedules: workflows that are started again and again, by cron expressions or at intervals.

    plan   what is started when, and the arithmetic of times: pure
    state  what a schedule remembers, what it shows, and what can be asked of it

A schedule is an instance of the built-in workflow `tenuto.schedule` (`tenuto.builtins.schedule`, rule T2); the client's
side is `Client.schedules`.
"""

from tenuto.schedules.plan import Overlap, Plan
from tenuto.schedules.state import Due, PlanUpdate, Request, Seen, State, Verb

__all__ = ["Due", "Overlap", "Plan", "PlanUpdate", "Request", "Seen", "State", "Verb"]
