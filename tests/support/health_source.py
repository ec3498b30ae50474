"""A collector whose health is what a test says, and the health of one to which everything happened."""

from __future__ import annotations

from auditwire.delivery.health import Health
from auditwire.delivery.latency import Latency, LatencyMeter

OPENED = 1_800_000_000_000


def latency_of(*milliseconds: int) -> Latency:
    meter = LatencyMeter(OPENED)
    for latency in milliseconds:
        meter.observe(OPENED * 1_000, OPENED + latency)
    return meter.snapshot()


HEALTH = Health(
    state="degraded",
    stream_id="0199",
    accepted=100,
    delivered=90,
    control=3,
    pending_records=11,
    pending_bytes=5_000,
    capacity_bytes=64 << 20,
    oldest_seconds=1.5,
    lost={"journal_full": 2},
    coerced={"tool_name": 4},
    truncated={"prompt": 5},
    parked={"audit.error": "TOPIC_AUTHORIZATION_FAILED"},
    quarantined={"MSG_SIZE_TOO_LARGE": 6},
    resent=7,
    producers=1,
    faults=8,
    orphans={"0198": 4},
    left_alone=dict.fromkeys(("0195", "0196", "0197"), "other:9092, prefix audit"),
    adopted=2,
    adopted_delivered=12,
    journal_problem="OSError: [Errno 28] No space left on device",
    journal_used_bytes=7_000_000,
    unsynced_records=13,
    latency=latency_of(4, 5, 20, 4_000, 10_000_000),
)


class Source:
    """Something with a health."""

    def __init__(self, health: Health = HEALTH) -> None:
        self.now = health
        self.reads = 0

    def health(self) -> Health:
        self.reads += 1
        return self.now
