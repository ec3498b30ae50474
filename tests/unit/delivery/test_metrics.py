from __future__ import annotations

import json
import threading
from dataclasses import fields, replace
from typing import Any

import pytest

from auditwire.collectors import CompositeCollector, InMemoryCollector, NullCollector
from auditwire.collectors.streaming import _REASONS
from auditwire.delivery.health import LOSS_REASONS, Health
from auditwire.delivery.metrics import METRICS, Observed, plain, sources
from auditwire.errors import ConfigurationError
from support.health_source import HEALTH, Source


def test_plain_metrics_are_numbers_by_name() -> None:
    assert plain(HEALTH) == {
        "events.accepted": 100,
        "events.delivered": 90,
        "events.lost": {"journal_full": 2, "closed": 0, "encoding": 0, "refused": 0, "unreadable": 0},
        "values.coerced": {"tool_name": 4},
        "values.truncated": {"prompt": 5},
        "records.quarantined": {
            "MSG_SIZE_TOO_LARGE": 6,
            "RECORD_LIST_TOO_LARGE": 0,
            "INVALID_RECORD": 0,
            "internal": 0,
        },
        "records.control": 3,
        "records.resent": 7,
        "producers.made": 1,
        "faults": 8,
        "pending.records": 11,
        "pending.size": 5_000,
        "pending.age": 1.5,
        "journal.capacity": 64 << 20,
        "journal.used": 7_000_000,
        "records.unsynced": 13,
        "topics.parked": {"audit.error": 1},
        "events.adopted": 12,
        "streams.adopted": 2,
        "streams.orphaned": 1,
        "streams.left.alone": 3,
        "state": {"ok": 0, "degraded": 1, "failing": 0, "closed": 0},
    }
    assert json.loads(json.dumps(plain(HEALTH))) == plain(HEALTH)


def test_every_field_of_a_health_is_told() -> None:
    told: set[str] = set()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            told.add(name)
            return getattr(HEALTH, name)

    for metric in METRICS:
        metric.read(Watched())  # type: ignore[arg-type] # reads as one
    in_words = {"stream_id", "last_error", "journal_problem", "latency"}
    assert {f.name for f in fields(Health)} - told == in_words


def test_the_collectors_reasons_for_a_loss_begin_at_zero() -> None:
    assert {*_REASONS.values(), "encoding", "refused", "unreadable"} == set(LOSS_REASONS)


def test_a_counter_never_falls_and_an_amount_may() -> None:
    source = Source()
    observed = Observed(source)
    observed.read()
    source.now = replace(HEALTH, accepted=99, lost={}, pending_records=1)
    _, told = observed.read()
    assert told["events.accepted"] == {"": 100}
    assert told["events.lost"]["journal_full"] == 2
    assert told["pending.records"] == {"": 1}
    source.now = replace(HEALTH, accepted=101)
    assert observed.read()[1]["events.accepted"] == {"": 101}


def test_another_stream_begins_at_its_own_counts() -> None:
    source = Source()
    observed = Observed(source)
    observed.read()
    source.now = replace(HEALTH, stream_id="b", accepted=1)
    assert observed.read()[1]["events.accepted"] == {"": 1}


def test_a_forked_child_does_not_find_the_lock_taken() -> None:
    reading, leave = threading.Event(), threading.Event()

    class Slow(Source):
        def health(self) -> Health:
            if threading.current_thread() is thread:
                reading.set()
                leave.wait(60)
            return HEALTH

    observed = Observed(Slow())
    thread = threading.Thread(target=observed.read)
    thread.start()
    assert reading.wait(60)
    observed.after_fork()  # this thread stands for the child: the lock's holder is another
    assert observed.read()[0] is HEALTH
    leave.set()
    thread.join()


def test_sources_have_the_names_that_they_are_given() -> None:
    assert list(sources(Source())) == [""]
    assert list(sources({"orders": Source(), "billing": Source()})) == ["orders", "billing"]


def test_a_composite_stands_for_those_in_it_that_have_a_health() -> None:
    class Kafka(Source):
        def emit(self, event: object) -> None: ...
        def flush(self) -> None: ...

    one = CompositeCollector([InMemoryCollector(), Kafka()])
    assert list(sources(one)) == [""]
    two = CompositeCollector([one, Kafka()])
    assert list(sources(two)) == ["0", "1"]
    assert list(sources({"audit": two})) == ["audit0", "audit1"]


def test_a_collector_without_a_health_has_no_metrics_and_is_no_error() -> None:
    assert sources(NullCollector()) == {}


@pytest.mark.parametrize("wrong", [None, "localhost:9092", {"audit": object()}])
def test_what_is_no_collector_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^collector: .* is no collector"):
        sources(wrong)
