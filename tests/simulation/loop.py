"""An event loop with virtual time, in which whole processes can be crashed and paused.

Everything runs in one thread. The loop knows of each handle which simulated process scheduled it (a context variable
tells), keeps one queue per process, first in, first out as asyncio has it, and lets a seeded `Random` choose whose turn
it is. So code of one process runs as asyncio promises, and processes interleave in any way whatever. When nobody has
anything to do, the clock jumps to the next timer.

A crashed process never runs again, not even its `finally` blocks, exactly like one that was killed with -9. A paused one
(SIGSTOP) finds all that happened meanwhile when it goes on.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from functools import partial
from random import Random
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["CURRENT", "Process", "SimLoop", "StuckError"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_BURST = 8
"""Handles of one process that are run at the most before another may have its turn."""


class StuckError(Exception):
    """Nothing is left to happen, or more has happened than any run may take."""


class Process:
    """What is crashed or paused as a whole."""

    def __init__(self, name: str, number: int = 0) -> None:
        self.name = name
        self.number = number
        """Tells processes apart in the digest of the schedule."""
        self.ready: deque[asyncio.Handle] = deque()
        self.alive = True
        self.paused = False
        self.busy = False
        """It is among those that the loop chooses from."""
        self.fuse: int | None = None
        """Handles to be run until it crashes."""
        self.on_crash: list[Callable[[], None]] = []
        self.context: Context = copy_context()
        self.context.run(CURRENT.set, self)

    def __repr__(self) -> str:
        return f"<{self.name}>"


CURRENT: ContextVar[Process] = ContextVar("simulated_process")


class _Task(asyncio.Task[T]):
    """A task whose hash is its number, so that sets of tasks have the same order in every run."""

    def __hash__(self) -> int:
        return self.number

    number = 0
    process: Process


class SimLoop(asyncio.BaseEventLoop):
    """Run it with `run_until_complete`; it belongs to one simulation."""

    def __init__(self, chance: Random, *, most_steps: int) -> None:
        super().__init__()
        self._chance = chance
        self._most_steps = most_steps
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_number = 0
        self._cancelled_timers = 0
        self._busy: list[Process] = []
        self._tasks = 0
        self._graveyard: list[asyncio.Task[Any]] = []
        self.outside = Process("world")
        self._processes: dict[Process, None] = {self.outside: None}
        """Servers and the network; it is never crashed."""
        self.steps = 0
        """Handles that were run."""
        self.digest = 0
        """Of the whole schedule: two runs with the same digest took the same course."""
        self.over = False
        """The simulation has ended; all that is left is to be unwound, crashed processes included."""
        self.set_task_factory(self._make_task)

    # What asyncio asks for -----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]  # asyncio's own mark: it tells us of a cancellation
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, timer))
        return timer

    def _call_soon(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled_timers += 1

    def _process_events(self, event_list: Any) -> None:
        """There is nothing outside of the simulation that could happen."""

    def _write_to_self(self) -> None:
        """As above: nobody sleeps who would have to be woken."""

    def _run_once(self) -> None:
        busy = self._busy
        if not busy and not self._stopping:  # type: ignore[attr-defined]  # asyncio's own
            self._jump()
        self._collect_due()
        if busy:
            self._run_some(busy[int(self._chance.random() * len(busy))])

    # Processes ------------------------------------------------------------------------------------------------

    def spawn(
        self, process: Process, work: Coroutine[Any, Any, T], name: str | None = None
    ) -> asyncio.Task[T]:
        """Begin a task of the process's."""
        self._processes[process] = None
        return self.create_task(work, name=name, context=process.context.run(copy_context))

    def at(
        self, process: Process, when: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        """Call something at that time, in the process, if it still lives."""
        return self.call_at(when, callback, *args, context=process.context)

    def crash(self, process: Process) -> None:
        """End it at once, without another word."""
        if not process.alive:
            return
        process.alive = False
        # Collected as garbage, its tasks would run their `finally` blocks after all. So all is kept, and stands still.
        self._graveyard += [
            task for task in asyncio.all_tasks(self) if isinstance(task, _Task) and task.process is process
        ]
        self._idle(process)
        callbacks, process.on_crash = process.on_crash, []
        for callback in callbacks:
            callback()

    def pause(self, process: Process) -> None:
        process.paused = True
        self._idle(process)

    def resume(self, process: Process) -> None:
        if process.paused:
            process.paused = False
            if process.ready and process.alive:
                self._ready_to_run(process)

    def unwind(self) -> None:
        """Cancel everything and let it end, so that nothing is left to the garbage collector."""
        self.over = True
        asyncio._set_running_loop(self)
        try:
            for process in self._processes:
                if process.ready:
                    self._ready_to_run(process)
            for _ in range(20):
                left = [task for task in asyncio.all_tasks(self) if not task.done()]
                if not left:
                    break
                for task in sorted(left, key=hash):
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own
                    task.cancel()
                for _ in range(1000):
                    for process in list(self._busy):
                        self._run_some(process)
                    if not self._busy:
                        break
        finally:
            asyncio._set_running_loop(None)

    # Within -----------------------------------------------------------------------------------------------------

    def _make_task(self, _: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task: _Task[Any] = _Task.__new__(_Task)
        self._tasks += 1
        task.number = self._tasks  # before asyncio puts it into a set
        context: Context | None = options.get("context")
        task.process = (CURRENT.get if context is None else partial(context.get, CURRENT))(self.outside)
        task.__init__(work, loop=self, **options)  # type: ignore[misc]
        return task

    def _enqueue(self, handle: asyncio.Handle) -> None:
        context: Context = handle._context  # type: ignore[attr-defined]  # asyncio's own
        process = context.get(CURRENT, self.outside)
        process.ready.append(handle)
        if self._runs(process):
            self._ready_to_run(process)

    def _runs(self, process: Process) -> bool:
        return self.over or (process.alive and not process.paused)

    def _ready_to_run(self, process: Process) -> None:
        if not process.busy:
            process.busy = True
            self._busy.append(process)

    def _idle(self, process: Process) -> None:
        if process.busy:
            process.busy = False
            self._busy.remove(process)

    def _jump(self) -> None:
        self._drop_cancelled()
        if not self._timers:
            raise StuckError("nothing is left to happen")
        self._now = max(self._now, self._timers[0][0])

    def _collect_due(self) -> None:
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            if not timer.cancelled():
                self._enqueue(timer)

    def _drop_cancelled(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if self._cancelled_timers > 500 and self._cancelled_timers > len(timers) // 2:
            self._timers = [entry for entry in timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def _run_some(self, process: Process) -> None:
        """Run the handles that are at the front of the process's queue."""
        ready = process.ready
        for _ in range(1 + int(self._chance.random() * _BURST)):
            if not ready or not self._runs(process):
                break
            handle = ready.popleft()
            if handle.cancelled():
                continue
            self._step(process)
            handle._run()
            if process.fuse is not None and process.alive:
                process.fuse -= 1
                if process.fuse < 0 and not self.over:
                    self.crash(process)
        if not ready:
            self._idle(process)

    def _step(self, process: Process) -> None:
        self.steps += 1
        self.digest = hash((self.digest, process.number, self._now))
        if self.steps > self._most_steps and not self.over:
            raise StuckError(f"{self._most_steps} steps were taken and there is no end")
