"""Faults that happen in production, on three brokers, under a steady load: nothing accepted is lost.

CI runs the quick ones; `make chaos` (`--all-faults`) runs all of them. The emitter is a process of its own
(`rig.load`), so that its stalls are its own and it can be killed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from chaos_faults import FAULTS, PASSWORD, Fault, Stage
from emit_support import FaultRow, assert_complete, read_all, until

from auditwire.verification import check_streams
from rig import certs
from rig.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rig.container import KafkaCluster
    from rig.tiers import Tier

pytest_plugins = ["fault_report"]
pytestmark = [pytest.mark.needs("cluster", "acls", "faults"), pytest.mark.timeout(300)]

WARM = 2_000
"""Events delivered before a fault begins, and emitted after it has ended."""

RECOVERED = 120.0
"""Seconds within which everything has to be acknowledged when a fault has ended."""

STALL_MS = 2_500.0
"""Half of what emit waits for a journal without room: whoever waits for a broker waits longer than this."""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certs.make(tmp_path_factory.mktemp("secrets"))


@pytest.fixture(scope="module")
def chaos_cluster(tier: Tier, secrets: Path) -> Iterator[KafkaCluster]:
    """One for all faults: each leaves it as it was."""
    with tier.secure_cluster(secrets) as cluster:
        yield cluster


@pytest.fixture
def stage(chaos_cluster: KafkaCluster, secrets: Path, prefix: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(chaos_cluster, secrets, prefix, tmp_path) as stage:
        yield stage


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.name)
def fault(request: pytest.FixtureRequest) -> Fault:
    found: Fault = request.param
    if not (found.quick or request.config.getoption("all_faults")):
        pytest.skip("run by `make chaos`")
    return found


def test_what_is_accepted_before_during_and_after_a_fault_is_delivered(
    stage: Stage, fault: Fault, fault_table: Callable[[FaultRow], None]
) -> None:
    stage.start(password=fault.password, proxied=fault.proxied)
    if fault.password == PASSWORD:
        until(lambda: stage.load.health()["delivered"] > WARM, "events are delivered", 60)
    begun, before = time.monotonic(), stage.accepted
    with fault.hold(stage):
        until(lambda: stage.accepted > before + fault.events, "events are accepted meanwhile", 60)
    ended = time.monotonic()
    stage.load.flush(RECOVERED)
    until(lambda: len(stage.streams()) == 1, "what a killed process left is delivered", RECOVERED)
    recovery = time.monotonic() - ended
    after = stage.accepted
    until(lambda: stage.accepted > after + WARM, "events are accepted afterwards")
    health = stage.load.close(RECOVERED)
    stage.settle()

    trail = read_all(stage.reading["bootstrap.servers"], stage.prefix, config=stage.reading)
    records = [*stage.taken, *trail.records]
    tally = Tally()
    for record in records:
        tally.add(record)
    lost = tally.lost(stage.loads)
    counts = [load.counts for load in stage.loads]
    row = FaultRow(
        fault=fault.name,
        accepted=stage.accepted,
        refused=sum(count.refused for count in counts),
        delivered=tally.delivered,
        lost=len(lost),
        duplicates=tally.duplicates,
        stall_ms=max(count.stall_ms for count in counts),
        lasted=ended - begun,
        recovery=recovery,
    )
    fault_table(row)
    *orphaned, last = check_streams(records, settled=True)
    assert lost == [], last.to_dict()
    assert (row.refused, tally.doubled) == (0, 0)
    in_flight = sum(len(count.accepted) for count in counts[:-1])  # accepted, but not counted in time
    assert row.accepted <= row.delivered <= row.accepted + in_flight
    assert counts[-1].total == health["accepted"]
    assert (health["lost"], health["quarantined"], health["parked"], health["faults"]) == ({}, {}, {}, 0)
    assert row.stall_ms < STALL_MS
    assert_complete(last)
    assert [report.verdict for report in orphaned] == ["recovered"] * (len(stage.loads) - 1)
