from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.delivery.latency import BOUNDS, Latency, LatencyMeter

OPENED = 1_800_000_000_000


def observed(*milliseconds: int) -> Latency:
    meter = LatencyMeter(OPENED)
    for latency in milliseconds:
        meter.observe(OPENED * 1_000, OPENED + latency)
    return meter.snapshot()


def test_a_meter_begins_with_nothing() -> None:
    latency = LatencyMeter(OPENED).snapshot()
    assert latency == Latency()
    assert (latency.count, latency.sum, len(latency.buckets)) == (0, 0.0, len(BOUNDS) + 1)


@pytest.mark.parametrize(
    ("milliseconds", "bucket"),
    [(0, 0), (5, 0), (6, 1), (1_000, 7), (1_001, 8), (3_600_000, 15), (3_600_001, 16), (10**9, 16)],
)
def test_a_buckets_upper_bound_belongs_to_it(milliseconds: int, bucket: int) -> None:
    latency = observed(milliseconds)
    assert [index for index, (count, _) in enumerate(latency.buckets) if count] == [bucket]
    assert latency.sum == milliseconds / 1_000


@given(st.lists(st.integers(0, 10**8), max_size=50))
def test_every_observation_is_in_the_bucket_between_its_bounds(latencies: list[int]) -> None:
    latency = observed(*latencies)
    lows, highs = (-1.0, *BOUNDS), (*BOUNDS, float("inf"))
    for (count, seconds), low, high in zip(latency.buckets, lows, highs, strict=True):
        inside = [ms / 1_000 for ms in latencies if low < ms / 1_000 <= high]
        assert count == len(inside)
        assert seconds == pytest.approx(sum(inside))
    assert latency.count == len(latencies)
    assert latency.sum == pytest.approx(sum(latencies) / 1_000)


@pytest.mark.parametrize("made_ms", [0, OPENED - 1, OPENED + 11, OPENED + 10**9])
def test_what_was_made_before_the_stream_or_in_the_future_is_left_out(made_ms: int) -> None:
    meter = LatencyMeter(OPENED)
    meter.observe(made_ms * 1_000, OPENED + 10)
    assert meter.snapshot().count == 0


def test_a_snapshot_stays_as_it_was() -> None:
    meter = LatencyMeter(OPENED)
    before = meter.snapshot()
    meter.observe(OPENED * 1_000, OPENED)
    assert (before.count, meter.snapshot().count) == (0, 1)
