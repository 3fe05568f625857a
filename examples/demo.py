"""The demonstration that `make demo` runs: an order that survives `kill -9`.

It runs the order fulfilment example in a process of its own, kills that process at the worst moment (the
payment provider has taken the money, and its answer is not here yet), runs the very same command again, and
shows what became of it. Nothing here hangs on timing: in its first life the process talks to a payment
provider that never answers.
"""

import io
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from outside_world import OutsideWorld, Request
from rich.console import Console
from rich.table import Table

EXAMPLE = Path(__file__).with_name("order_fulfilment.py")
DATABASE = "tenuto.db"
PATIENCE = 60.0
"""Seconds to wait for a step before giving up."""
TENUTO = (sys.executable, "-m", "tenuto_gateway.cli")


class DemoError(Exception):
    """The demonstration did not go as it should."""


class Demo:
    """One order, from its start through the crash to its end."""

    def __init__(self, console: Console, world: OutsideWorld) -> None:
        self._console = console
        self._world = world
        self._order = {
            "order_id": secrets.token_hex(2),
            "items": ["lamp", "desk"],
            "amount": "129.90",
            "address": "12 Main Street",
        }
        self._instance = f"order-{self._order['order_id']}"
        self._command = (
            *("run", os.path.relpath(EXAMPLE), "fulfil_order"),
            *("--id", self._instance, "--input", json.dumps(self._order)),
        )

    def play(self) -> None:
        """Run it all.

        Raises:
            DemoError: something is not as it should be.
        """
        self._console.rule("[bold]An order that survives kill -9")
        first = self._life_until_payment()
        second, result = self._life_to_the_end()
        self._show_history()
        self._show_requests({first: "first", second: "second"})
        self._check()
        self._console.print(f"\n[bold]The result[/]  {result}")
        self._console.print(
            f"\nThe file {DATABASE} has it all. Try:  tenuto workflow list\n"
            f"                                   tenuto workflow history {self._instance}\n"
        )

    def _life_until_payment(self) -> int:
        """The first life. In it, the payment provider never answers, so there is no hurry to kill."""
        with self._process(stderr=subprocess.PIPE, WORLD_NEVER_ANSWERS="charge") as process:
            assert process.stderr is not None  # noqa: S101  asked for in the line above
            for line in process.stderr:
                sys.stdout.write(line)
                if "charge_card" in line:
                    break
            self._wait_for_payment(process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._say(
            "The payment provider has taken the money, and its answer is still on the way. Process "
            f"{process.pid} was killed with [bold]kill -9[/]."
        )
        return process.pid

    def _wait_for_payment(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(request.what.startswith("charge") for request in self._requests()):
            if process.poll() is not None:
                raise DemoError(f"the process ended by itself, with exit code {process.returncode}")
            if time.monotonic() > deadline:
                raise DemoError("the payment provider was not asked")
            time.sleep(0.05)

    def _life_to_the_end(self) -> tuple[int, str]:
        self._say(
            "The same command again. As soon as the lease of the killed process has run out, it goes on where it was:"
        )
        with self._process() as process:
            output, _ = process.communicate(timeout=PATIENCE)
        if process.returncode != 0:
            raise DemoError(f"the workflow ended with exit code {process.returncode}")
        return process.pid, output.strip()

    @contextmanager
    def _process(self, stderr: int | None = None, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """`tenuto run`. Its progress goes to the terminal as it comes, unless `stderr` says otherwise."""
        self._show_command(self._command)
        process = subprocess.Popen(  # noqa: S603  our own command
            [*TENUTO, *self._command],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=self._environment(environment),
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def _show_history(self) -> None:
        self._say("Its history, as the database has it:")
        command = ("workflow", "history", self._instance)
        self._show_command(command)
        subprocess.run([*TENUTO, *command], check=True, env=self._environment({}))  # noqa: S603  our own command

    def _show_requests(self, lives: Mapping[int, str]) -> None:
        """What the outside world was asked, and by which of the two processes."""
        self._say("What the outside world was asked to do:")
        table = Table(
            "REQUEST", "FIRST LIFE", "SECOND LIFE", "", box=None, pad_edge=False, header_style="bold"
        )
        for what, requests in self._grouped().items():
            asked = Counter(lives[request.process] for request in requests)
            remark = "one key: done once" if len(requests) > 1 else ""
            table.add_row(what, *("✓" * asked[life] for life in ("first", "second")), remark)
        self._console.print(table)

    def _check(self) -> None:
        for what, requests in self._grouped().items():
            if len(requests) > 1 and not what.startswith("charge"):
                raise DemoError(f"{what} was asked for again, although the history had it")
            if len({request.key for request in requests}) > 1:
                raise DemoError(f"{what} was asked for with two keys")

    def _grouped(self) -> dict[str, list[Request]]:
        grouped: dict[str, list[Request]] = {}
        for request in self._requests():
            grouped.setdefault(request.what, []).append(request)
        return grouped

    def _requests(self) -> list[Request]:
        return self._world.requests(str(self._order["order_id"]))

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        ours = {"TENUTO_DATABASE_URL": f"sqlite+aiosqlite:///{DATABASE}", "TENUTO_BROKER_URL": "memory://"}
        world = {"WORLD_BOOKS": str(self._world.books), "WORLD_SECONDS": str(self._world.seconds)}
        return {**os.environ, **ours, **world, **self._looks(), **more}

    def _looks(self) -> dict[str, str]:
        """Colours and width for a command whose output passes through this process."""
        return {"FORCE_COLOR": "1", "COLUMNS": str(self._console.width)} if self._console.is_terminal else {}

    def _show_command(self, arguments: tuple[str, ...]) -> None:
        command = shlex.join(("tenuto", *arguments))
        self._console.print(
            f"\n$ {command}", style="bold cyan", highlight=False, markup=False, soft_wrap=True
        )

    def _say(self, words: str) -> None:
        self._console.print(f"\n[bold]▌[/] {words}", highlight=False)


def main() -> int:
    """Run the demonstration in the present folder; the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Else what this process says would come after what its children say, when it goes into a file.
        sys.stdout.reconfigure(line_buffering=True)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        world = OutsideWorld(books=Path(folder) / "outside_world.db", seconds=0.3)
        try:
            Demo(console, world).play()
        except DemoError as error:
            console.print(f"[bold red]The demonstration failed: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
