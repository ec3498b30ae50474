"""A clock that is a day wrong, ahead or behind, and steps while events are emitted.

The programs read the time through a function that the test puts in place of the operating system's: the
machine's own clock is not touched, and the broker's is right all the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from durable_support import Site, assert_all_delivered, by_agent

if TYPE_CHECKING:
    from pathlib import Path

    from rig.broker import Broker

DAY = 86_400

CLOCK = """
real_time, real_time_ns = time.time, time.time_ns
ahead = 0
time.time = lambda: real_time() + ahead
time.time_ns = lambda: real_time_ns() + ahead * 10**9

def until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)
"""


@pytest.fixture
def site(broker: Broker, prefix: str, tmp_path: Path) -> Site:
    return Site(broker, prefix, tmp_path)


@pytest.mark.parametrize("step", [-DAY, DAY], ids=["a day back", "a day ahead"])
def test_a_clock_that_steps_and_steps_back_costs_nothing(site: Site, step: int) -> None:
    ended = site.run(
        CLOCK
        + """
audit = make(sync="interval")
emit(audit, 200, "before")
audit.flush(20)
ahead = int(sys.argv[5])
emit(audit, 1_200, "meanwhile")          # a checkpoint falls due too
if ahead < 0:
    audit.flush(20)                      # the past is not refused
else:
    until(lambda: audit.health().parked, "the broker refuses what comes from the future")
    print(sorted(set(audit.health().parked.values())), file=sys.stderr)
until(lambda: audit.health().unsynced_records == 0, "what is accepted is synchronised")
ahead = 0
emit(audit, 200, "after")
audit.flush(40)
health = audit.health()
assert (health.parked, health.lost, health.quarantined, health.faults) == ({}, {}, {}, 0), health
audit.close(20)
""",
        str(step),
        timeout=120,
    )
    assert ended.code == 0, ended.err
    assert ("INVALID_TIMESTAMP" in ended.err) == (step > 0)
    assert site.left == []
    trail = site.trail()
    assert by_agent(trail) == {"before": 200, "meanwhile": 1_200, "after": 200}
    assert_all_delivered(site, trail)
    (report,) = trail.reports
    assert report.verdict == "complete"
    # what the events say of their time is what the clock said, and stands in the body unchanged
    times = {record.event.agent_id: record.event.timestamp_us for record in trail.events}
    assert abs(times["meanwhile"] - times["before"] - step * 10**6) < 60 * 10**6


@pytest.mark.parametrize("step", [-DAY, DAY], ids=["a day back", "a day ahead"])
def test_what_a_process_with_a_wrong_clock_left_is_delivered_by_one_with_the_right_clock(
    site: Site, step: int
) -> None:
    """Its stream bears the wrong time in its name, and in everything that it says."""
    ended = site.run(
        CLOCK
        + """
ahead = int(sys.argv[5])
emit(make(), 300, "wrong")
os.kill(os.getpid(), signal.SIGKILL)
""",
        str(step),
    )
    assert ended.code == -9, ended.err
    right = site.run("emit(make(), 300, 'right')\nos.kill(os.getpid(), signal.SIGKILL)")
    assert right.code == -9, right.err
    site.recover()
    trail = site.trail()
    assert by_agent(trail) == {"wrong": 300, "right": 300}
    assert_all_delivered(site, trail)


@pytest.mark.parametrize("step", [-DAY, DAY], ids=["a day back", "a day ahead"])
def test_a_process_whose_clock_is_wrong_delivers_what_others_left(site: Site, step: int) -> None:
    left = site.run("emit(make(), 300, 'right')\nos.kill(os.getpid(), signal.SIGKILL)")
    assert left.code == -9, left.err
    ended = site.run(
        CLOCK
        + """
ahead = int(sys.argv[5])
audit = make()
emit(audit, 100, "wrong")
if ahead > 0:
    until(lambda: audit.health().parked, "the broker refuses what comes from the future")
    ahead = 0
until(lambda: audit.health().adopted == 1, "what was left is delivered")
audit.close(20)
""",
        str(step),
        timeout=120,
    )
    assert ended.code == 0, ended.err
    assert site.left == []
    trail = site.trail()
    assert by_agent(trail) == {"right": 300, "wrong": 100}
    assert_all_delivered(site, trail)
