"""How much is purged together."""

from __future__ import annotations

from tenuto_orchestrator.retention import _TURNS, _portions


def test_long_histories_are_not_purged_together() -> None:
    turns = [_TURNS - 1, 1, 1, 3 * _TURNS, 2, 0]
    found = [(str(number), "r", taken) for number, taken in enumerate(turns)]
    portions = list(_portions(found))
    assert [[turns for _, _, turns in portion] for portion in portions] == [
        [_TURNS - 1, 1],
        [1],
        [3 * _TURNS],
        [2, 0],
    ]
    assert [one for portion in portions for one in portion] == found


def test_short_ones_go_in_one_batch() -> None:
    found = [(str(number), "r", 10) for number in range(200)]
    assert list(_portions(found)) == [found]
    assert list(_portions([])) == []
