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

from rig import certs
from rig.load import Load
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
def stage(chaos_cluster: KafkaCluster, secrets: Path, prefix: str) -> Stage:
    return Stage(chaos_cluster, secrets, prefix)


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.name)
def fault(request: pytest.FixtureRequest) -> Fault:
    found: Fault = request.param
    if not (found.quick or request.config.getoption("all_faults")):
        pytest.skip("run by `make chaos`")
    return found


def test_what_is_accepted_before_during_and_after_a_fault_is_delivered(
    stage: Stage, fault: Fault, tmp_path: Path, fault_table: Callable[[FaultRow], None]
) -> None:
    config = stage.emitting(password=fault.password, proxied=fault.proxied)
    with Load(tmp_path, config, stage.prefix) as load:
        stage.load = load
        if fault.password == PASSWORD:
            until(lambda: load.health()["delivered"] > WARM, "events are delivered", 60)
        begun, before = time.monotonic(), load.counts.total
        with fault.hold(stage):
            until(lambda: load.counts.total > before + fault.events, "events are accepted meanwhile", 60)
        lasted = time.monotonic() - begun
        recovery = load.flush(RECOVERED)
        after = load.counts.total
        until(lambda: load.counts.total > after + WARM, "events are accepted afterwards")
        health = load.close(RECOVERED)
        counts = load.counts
    stage.settle()

    trail = read_all(stage.reading["bootstrap.servers"], stage.prefix, config=stage.reading)
    tally = Tally()
    for record in trail.records:
        tally.add(record)
    row = FaultRow(
        fault=fault.name,
        accepted=counts.total,
        refused=counts.refused,
        delivered=tally.delivered,
        lost=tally.lost(load.life, counts),
        duplicates=tally.duplicates,
        stall_ms=counts.stall_ms,
        lasted=lasted,
        recovery=recovery,
    )
    fault_table(row)
    assert (row.lost, row.refused, tally.doubled) == (0, 0, 0)
    assert row.accepted == row.delivered == health["accepted"] == health["delivered"]
    assert (health["lost"], health["quarantined"], health["parked"], health["faults"]) == ({}, {}, {}, 0)
    assert row.stall_ms < STALL_MS
    (report,) = trail.reports
    assert_complete(report)
