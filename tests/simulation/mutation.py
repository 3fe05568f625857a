"""What a mutant is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

__all__ = ["Mutant", "mutant", "replaced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    name: str
    rule: str
    apply: Callable[[], AbstractContextManager[object]]
    within: int
    """Seeds, from 0 on, among which there must be one that catches it."""
    focus: str = ""
    """The kind of trouble that shows it."""


def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> AbstractContextManager[object]:
    """`make` is given the original and gives what stands in its place."""
    return patch.object(owner, name, make(getattr(owner, name)))


def mutant(
    name: str, rule: str, apply: Callable[[], AbstractContextManager[object]], within: int, focus: str = ""
) -> Mutant:
    return Mutant(name=name, rule=rule, apply=apply, within=within, focus=focus)
