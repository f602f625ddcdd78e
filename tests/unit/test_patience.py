"""Attempts with a bound, by a clock that only sleeping moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import patience
from node.clock import Clock


@given(seconds=st.floats(0.001, 60), first=st.floats(0.0002, 0.05), longest=st.floats(0.02, 0.1))
def test_the_last_attempt_is_when_the_time_is_over(seconds: float, first: float, longest: float) -> None:
    """And the first at once; the pauses grow to the longest, which alone the last one may cut short."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        looks = [clock.now for _ in patience.attempts(seconds, first, longest)]
    assert looks[0] == 0 and looks[-1] == pytest.approx(seconds)
    assert all(pause <= max(first, longest) for pause in clock.pauses)
    growing = clock.pauses[1:-1]
    assert growing == sorted(growing)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_time_there_is_one_attempt(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert len(list(patience.attempts(seconds))) == 1
    assert clock.pauses == []


def test_who_succeeds_sleeps_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for number, _ in enumerate(patience.attempts(10)):
        if number == 2:
            break
    assert len(clock.pauses) == 2
