"""`verify_trail` as a program calls it; what it says of a trail, the tests of the command have."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from auditwire import verification
from auditwire.errors import ConfigurationError, SinkError
from auditwire.verification import StreamReport, TrailReport, verify_trail
from support.trails import Trail

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.testing import EmbeddedBroker

NOWHERE = "127.0.0.1:1"
NO_CLIENT = "import sys, auditwire.verification; print('confluent_kafka' in sys.modules)"


@pytest.fixture
def own(audit_broker: EmbeddedBroker) -> Trail:
    """A trail of the test's own, with its topics made."""
    prefix = f"test-{uuid4().hex[:8]}"
    audit_broker.create_topics(prefix=prefix, partitions=2)
    return Trail(audit_broker.bootstrap_servers, prefix)


def checked(own: Trail, **arguments: Any) -> tuple[TrailReport, list[str]]:
    """What was found, and what was told of each stream."""
    told: list[str] = []

    def on_report(stream: StreamReport, counts_for: str) -> None:
        told.append(f"{stream.stream_id} {stream.verdict} {counts_for}")

    return verify_trail(own.bootstrap, prefix=own.prefix, on_report=on_report, **arguments), told


def test_every_public_name_can_be_had_and_is_shown() -> None:
    for name in verification.__all__:
        assert getattr(verification, name) is not None, name
    assert set(verification.__all__) <= set(dir(verification))
    with pytest.raises(AttributeError, match="has no attribute 'verify_all'"):
        verification.verify_all  # noqa: B018 - what is tested


def test_the_package_loads_no_kafka_client_before_a_trail_is_checked() -> None:
    run = subprocess.run([sys.executable, "-c", NO_CLIENT], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_state_can_be_named_by_text_and_makes_the_next_check_short(own: Trail, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    streams = sorted([own.write(events=3), own.write(events=4)])
    for messages in (11, 0):
        report, told = checked(own, state=state, incremental=True)
        assert (report.messages, report.exit_status, report.records) == (messages, 0, 11)
        assert told == [f"{stream} complete proven" for stream in streams]
    third = own.write(events=1)
    report, told = checked(own, state=state, incremental=True, changed_only=True, expect="planner")
    assert told == [f"{third} complete proven"]
    assert (report.streams, report.records, report.verdicts) == (3, 14, {"complete": 3})
    assert report.trail_faults == []


def test_a_session_can_be_named_alone_or_among_others(own: Trail) -> None:
    first, second = own.write(session="s-1", events=1), own.write(session="s-2", events=1)
    assert checked(own, session_id="s-2")[1] == [f"{second} complete proven"]
    assert len(checked(own, session_id=["s-1", "s-2"])[1]) == 2
    assert checked(own, session_id={"s-1"})[1] == [f"{first} complete proven"]


def test_a_time_may_be_an_aware_datetime_text_or_milliseconds(own: Trail) -> None:
    own.write(events=1)
    acknowledged: list[int] = []
    now = datetime.now(timezone.utc)
    for until in (now - timedelta(days=1), now + timedelta(days=1)):
        for given in (until, until.isoformat(), int(until.timestamp() * 1_000)):
            verify_trail(
                own.bootstrap,
                prefix=own.prefix,
                until=given,
                on_report=lambda stream, _: acknowledged.append(stream.acknowledged),
            )
    assert acknowledged == [0, 0, 0, 2, 2, 2]  # what was said to have arrived by then


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"since": "yesterday"}, "since"),
        ({"until": datetime(2026, 1, 1)}, "until"),  # noqa: DTZ001 - what is refused
        ({"session_id": []}, "session_id"),
        ({"retention": timedelta()}, "retention"),
        ({"state": "state", "since": 1}, "state"),
        ({"state": "state", "session_id": "s-1"}, "state"),
        ({"incremental": True}, "incremental"),
    ],
)
def test_what_contradicts_itself_is_refused_by_its_name_before_anything_is_asked(
    arguments: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        verify_trail(NOWHERE, **arguments)
    assert caught.value.key == key


def test_a_work_directory_that_is_not_there_is_an_error_with_its_name(own: Trail, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"could not be sorted in .*none: No such file or directory"):
        checked(own, work_directory=str(tmp_path / "none"))
