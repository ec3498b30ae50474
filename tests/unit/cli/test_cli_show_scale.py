from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.cli.show_scale import Scale

SECOND = 1_000_000
times = st.lists(st.integers(-(10**15), 10**18), min_size=1, max_size=60)


@given(times)
def test_places_rise_from_0_to_100_with_the_times(found: list[int]) -> None:
    scale = Scale(found)
    places = [scale.at(us) for us in sorted(found)]
    assert places[0] == 0.0
    assert places[-1] == pytest.approx(100.0 if len(set(found)) > 1 else 0.0)
    assert all(before <= after + 1e-9 for before, after in pairwise(places))


@given(times)
def test_shortened_pauses_lie_within_and_tell_their_real_length(found: list[int]) -> None:
    scale = Scale(found)
    steps = {after - before for before, after in pairwise(sorted(set(found)))}
    for pause in scale.pauses:
        assert 0.0 <= pause.left < pause.right <= 100.0 + 1e-9
        assert pause.us in steps


def test_even_steps_are_drawn_even_and_nothing_is_shortened() -> None:
    scale = Scale(range(0, 101 * SECOND, SECOND))
    assert scale.pauses == []
    assert scale.at(25 * SECOND) == pytest.approx(25.0)
    assert scale.at(25 * SECOND + SECOND // 2) == pytest.approx(25.5)


def test_a_long_pause_takes_a_small_part_of_the_width() -> None:
    work = [second * SECOND for second in range(50)]
    later = [us + 7_200 * SECOND for us in work]
    scale = Scale(work + later)
    (pause,) = scale.pauses
    assert pause.us == 7_151 * SECOND
    assert pause.right - pause.left < 12.0
    assert scale.at(49 * SECOND) > 40.0


def test_what_lies_outside_stands_at_the_ends() -> None:
    scale = Scale([0, SECOND])
    assert (scale.at(-5), scale.at(9 * SECOND)) == (0.0, 100.0)


def test_a_single_time_stands_at_the_beginning() -> None:
    assert Scale([5]).at(5) == Scale([]).at(7) == 0.0
