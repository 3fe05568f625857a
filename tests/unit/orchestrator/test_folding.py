"""Tasks share messages, but a message never holds back parallelism."""

from __future__ import annotations

import msgspec

from tenuto.messages import ActivityTask
from tenuto_orchestrator.folding import Durations, Folds, fold


def _task(name: str, command: int = 0, *, alone: bool = False, payload: bytes = b"1") -> ActivityTask:
    return ActivityTask(
        instance="i",
        run="r",
        generation=0,
        command=command,
        attempt=1,
        name=name,
        input=msgspec.Raw(payload),
        workflow="w",
        key="k",
        reply_to="q",
        alone=alone,
    )


def _known(**seconds: float) -> Durations:
    durations = Durations()
    for name, value in seconds.items():
        durations.note(name, value)
    return durations


def test_short_activities_travel_together_up_to_the_bound() -> None:
    tasks = [_task("quick", number) for number in range(45)]
    folds = fold(tasks, _known(quick=0.0001), Folds(tasks=20))
    assert [len(part) for part in folds] == [20, 20, 5]
    assert [task.command for part in folds for task in part] == list(range(45))


def test_an_activity_of_unknown_duration_goes_alone() -> None:
    assert [len(part) for part in fold([_task("new"), _task("new")], Durations(), Folds())] == [1, 1]


def test_a_long_activity_goes_alone_and_splits_no_fold() -> None:
    tasks = [_task("quick"), _task("slow"), _task("quick")]
    folds = fold(tasks, _known(quick=0.0001, slow=2.0), Folds())
    assert sorted(sorted(task.name for task in part) for part in folds) == [["quick", "quick"], ["slow"]]


def test_a_fold_takes_no_longer_than_the_bound() -> None:
    folds = fold([_task("short", n) for n in range(10)], _known(short=0.004), Folds(seconds=0.01))
    assert max(len(part) for part in folds) == 2


def test_a_fold_is_capped_in_bytes() -> None:  # rule B4
    payload = b'"' + b"x" * 50_000 + b'"'
    folds = fold([_task("quick", n, payload=payload) for n in range(6)], _known(quick=0.0), Folds())
    assert [len(part) for part in folds] == [2, 2, 2]


def test_what_was_lost_before_goes_alone() -> None:  # rule W1
    tasks = [_task("quick"), _task("quick", alone=True), _task("quick")]
    assert sorted(len(part) for part in fold(tasks, _known(quick=0.0), Folds())) == [1, 2]


def test_the_average_follows_the_durations() -> None:
    durations = _known(work=1.0)
    for _ in range(30):
        durations.note("work", 0.001)
    expected = durations.expected("work")
    assert expected is not None
    assert expected < 0.01
