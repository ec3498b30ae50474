from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from auditwire import AuditEmitter, JournalCollector
from auditwire.collectors.journals import DiskJournals, open_ledger
from auditwire.delivery import forwarder as module
from auditwire.delivery.adoption import Adoption
from auditwire.delivery.client import Client
from auditwire.delivery.forwarder import AnyTarget, Forwarder
from auditwire.delivery.settings import producer_config
from auditwire.ids import uuid7
from auditwire.journal.drafter import Drafter
from auditwire.journal.notes import Notes
from auditwire.journal.target import Target
from auditwire.wire import FastavroEncoder
from support.journal_files import JournalFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from auditwire.testing import EmbeddedBroker

NOBODY = "127.0.0.1:1"


@pytest.fixture
def made() -> Iterator[list[Forwarder]]:
    made: list[Forwarder] = []
    yield made
    for one in made:
        if one._thread.is_alive():
            one.close(time.monotonic())
            assert one.join(60)


@pytest.fixture
def forwarder(made: list[Forwarder], tmp_path: Path) -> Callable[..., Forwarder]:
    def make(servers: str, prefix: str = "audit", *, serve_live: bool = True) -> Forwarder:
        config, callbacks = producer_config(servers, None)
        target = Target.of(servers, prefix)
        journals = DiskJournals(tmp_path / "journal", target)
        stream_id, notes = uuid7(), Notes()
        journal = journals.open(stream_id, service="forward", source="/forward")
        one = Forwarder(
            Client(config, callbacks, time.monotonic),
            journal,
            Drafter(stream_id, FastavroEncoder(), prefix),
            open_ledger(prefix, {}, stream_id, None, journal.previous),
            notes,
            Adoption(journals.path, target, serve_live=serve_live),
            partitioner=config["partitioner"],
            source="/forward",
            topics=None,
            capacity=1 << 30,
        )
        made.append(one)
        return one

    return make


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


def test_it_has_caught_up_when_orphans_are_gone_and_living_owners_have_nothing_that_waits(
    forwarder: Callable[..., Forwarder], audit_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    audit_broker.create_topics(prefix="caught-up", partitions=1)
    files = JournalFiles(tmp_path / "journal")
    orphans = [files.stream(target=Target("", "caught-up")).errors(20).end() for _ in range(12)]
    with AuditEmitter(JournalCollector(files.path, prefix="caught-up")) as audit:
        audit.emit_error("E")
        one = forwarder(audit_broker.bootstrap_servers, "caught-up")
        assert not one.caught_up, "nothing was looked at yet"
        one.start()
        wait_for(lambda: one.caught_up, "the end of the work")
        health = one.health()
        assert (health.delivered, health.adopted, health.pending_records) == (241, 12, 0)
        assert (health.accepted, health.state) == (241, "ok")
        alive = audit.collector.stream_id  # type: ignore[attr-defined]
        assert one.reached({alive: 1, orphans[0].stream_id: 20})
        assert not one.reached({alive: 1_000_000}), "so many are not there yet"
        left = files.journal.streams()
        assert not {stream.stream_id for stream in orphans} & set(left)
        assert len(left) == 2, "the living one's, and the forwarder's own"
        one.close(time.monotonic() + 60)
        assert one.join(60)
        assert one.health().state == "closed"
        assert files.journal.streams() == [alive]


def test_living_owners_can_be_left_alone(
    forwarder: Callable[..., Forwarder], audit_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    audit_broker.create_topics(prefix="left-alone", partitions=1)
    with AuditEmitter(JournalCollector(tmp_path / "journal", prefix="left-alone")) as audit:
        audit.emit_error("E")
        one = forwarder(audit_broker.bootstrap_servers, "left-alone", serve_live=False)
        one.start()
        wait_for(lambda: one.caught_up, "the end of the work")
        assert one.health().delivered == 0


def test_the_health_is_that_of_all_streams(
    forwarder: Callable[..., Forwarder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = JournalFiles(tmp_path / "journal")
    orphan = files.stream(target=Target(NOBODY, "audit")).errors(25).end()
    one = forwarder(NOBODY)
    one.start()
    wait_for(lambda: one.health().orphans == {orphan.stream_id: 25}, "the adoption")
    health = one.health()
    assert health.state == "ok", "it has only begun to wait"
    assert (health.delivered, health.accepted, health.pending_records) == (0, 26, 26)
    assert health.oldest_seconds > 0
    assert health.pending_bytes >= 1 << 20, "the files below the path"
    assert not one.caught_up
    monkeypatch.setattr(module, "STALLED_SECONDS", 0.0)
    wait_for(lambda: one.health().state == "failing", "the state failing")
    monkeypatch.undo()
    assert one.live, "it goes round all the same"
    one.close(time.monotonic() + 3600)
    one.close(time.monotonic())  # the earlier one counts
    assert one.join(60)
    assert orphan.stream_id in files.journal.streams()


def test_a_loop_that_hangs_is_not_live(
    forwarder: Callable[..., Forwarder], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = forwarder(NOBODY)
    assert not one.live, "it was not started"
    entered, go_on = threading.Event(), threading.Event()
    step = one._sender.step

    def hang() -> bool:
        entered.set()
        assert go_on.wait(60)
        return step()

    monkeypatch.setattr(one._sender, "step", hang)
    one.start()
    assert entered.wait(60)
    wait_for(lambda: one.live, "the first round")
    one._sender.round_at -= module.HUNG_SECONDS
    wait_for(lambda: not one.live, "the notice that it hangs")
    go_on.set()
    wait_for(lambda: one.live, "the next round")


def test_any_target_accepts_whatever_is_written_there() -> None:
    other = Target("elsewhere:9092", "other")
    assert AnyTarget("here:9092", "audit").accepts(other)
    assert not Target("here:9092", "audit").accepts(other)
