"""How many tasks are out: what is read at a recovery must not undo what has been committed since."""

from __future__ import annotations

from tenuto_orchestrator.backlog import Backlog


def test_what_an_instance_has_out_takes_the_place_of_what_it_had() -> None:
    backlog = Backlog()
    backlog.follow("a", {"payments": 3})
    backlog.follow("b", {"payments": 1, "mail": 2})
    assert backlog.total == {"payments": 4, "mail": 2}
    backlog.follow("a", {"payments": 1})
    backlog.follow("b", {})
    assert backlog.total == {"payments": 1, "mail": 0}


def test_what_was_there_before_is_found() -> None:
    backlog = Backlog()
    backlog.found("a", {"payments": 3})
    backlog.follow("a", {"payments": 2})
    assert backlog.total == {"payments": 2}


def test_what_was_read_before_a_commit_does_not_undo_it() -> None:
    backlog = Backlog()
    backlog.follow("a", {})
    backlog.follow("b", {"payments": 5})
    backlog.found("a", {"payments": 3})
    backlog.found("b", {"payments": 4})
    assert backlog.total == {"payments": 5}


def test_what_one_has_out_is_not_shared_with_it() -> None:
    backlog = Backlog()
    backlog.complete()
    out = {"payments": 2}
    backlog.follow("a", out)
    out["payments"] = 1
    backlog.follow("a", out)
    out.clear()
    backlog.follow("a", out)
    assert backlog.total == {"payments": 0}
