from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import AuditEmitter
from auditwire.cli.app import run
from auditwire.cli.verify_metrics import page, write_page
from auditwire.verification.watch import Numbers
from support.trails import Trail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auditwire.testing import EmbeddedBroker

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def own(audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch) -> Trail:
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    return Trail(audit_broker.bootstrap_servers, trail)


class Watching:
    """``verify --watch --fail-fast`` on a thread of its own."""

    def __init__(self, *arguments: str) -> None:
        self.status: int | None = None
        self._arguments = ["verify", "--watch", "--fail-fast", "--every", "0.1", *arguments]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = run(self._arguments)

    def end(self) -> int | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.status


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def samples(text: str) -> dict[str, float]:
    """The lines of a page: name with labels but the prefix's -> value."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = re.sub(r'prefix="[^"]*",?', "", name).replace("{}", "")
            found[name.removeprefix("auditwire_verify_")] = float(value)
    return found


def test_a_watch_tells_of_its_rounds_and_ends_at_the_first_fault(
    own: Trail, capsys: Captured, tmp_path: Path
) -> None:
    stream = own.write()
    file = tmp_path / "audit.prom"
    watching = Watching("--metrics-file", str(file), "--json")
    try:
        soon(lambda: file.exists() and samples(file.read_text())['rounds_total{result="complete"}'] >= 2)
        before = samples(file.read_text())
    finally:
        own.forge(stream, 12)
    assert watching.end() == 1
    rounds = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {made["object"] for made in rounds} == {"round"}
    assert [made["round"] for made in rounds] == [*range(1, len(rounds) + 1)]
    assert [made["result"] for made in rounds] == ["complete"] * (len(rounds) - 1) + ["fault"]
    assert [made["messages"] for made in rounds] == [12, *[0] * (len(rounds) - 2), 1]
    assert [one["stream_id"] for one in rounds[-1]["faulty"]] == [stream]
    assert rounds[-1]["faulty"][0]["faults"][0]["sequence"] == 12
    assert before["up"] == 1
    assert before['streams{verdict="complete"}'] == 1
    assert before["messages_total"] == 12
    assert before["last_success_timestamp_seconds"] > 1_700_000_000
    after = samples(file.read_text())
    assert after['faults_total{kind="after_close"}'] == 1
    assert after['rounds_total{result="fault"}'] == 1
    assert after['streams{verdict="fault"}'] == 1
    assert after["messages_total"] == 13
    assert [path.name for path in tmp_path.iterdir()] == ["audit.prom"]


def test_people_get_a_line_a_round_and_a_fault_once(own: Trail, capsys: Captured, tmp_path: Path) -> None:
    stream = own.write()
    state = tmp_path / "state"
    assert run(["verify", "--state", str(state)]) == 0
    own.forge(stream, 12)
    capsys.readouterr()
    watching = Watching("--state", str(state))
    assert watching.end() == 1
    line, row, fault, *_ = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  round 1: fault: 1 stream \(1 fault\), 1 message read in \d+\.\d s",
        line,
    )
    assert row.startswith(stream)
    assert fault.startswith("  after_close: ")


def test_a_watch_answers_over_http(own: Trail, capsys: Captured) -> None:
    stream = own.write()
    watching = Watching("--metrics", "127.0.0.1:0")
    said: list[str] = []

    def answering() -> bool:
        said.append(capsys.readouterr().err)
        return "answering at" in "".join(said)

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url + path, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        soon(answering)
        url = "".join(said).split()[-1]
        soon(lambda: samples(get("/metrics")[1])["up"] == 1)
        assert get("/live")[0] == 200
        status, text = get("/health")
        assert status == 200
        assert json.loads(text)["streams"] == {"complete": 1}
    finally:
        own.forge(stream, 12)
    assert watching.end() == 1


def test_an_open_stream_has_an_age_and_a_silence(own: Trail, tmp_path: Path, capsys: Captured) -> None:
    stream = own.write()
    collector = own.collector()
    audit = AuditEmitter(collector, "s-1")
    collector.flush()
    file = tmp_path / "audit.prom"
    watching = Watching("--metrics-file", str(file))
    try:
        soon(lambda: file.exists() and samples(file.read_text())['streams{verdict="open"}'] == 1)
        told = samples(file.read_text())
        assert 0 < told["open_stream_silence_seconds"] <= told["oldest_open_stream_age_seconds"] < 600
    finally:
        audit.close()
        own.forge(stream, 12)
    assert watching.end() == 1


# -- the page -----------------------------------------------------------------------------------------------


def test_every_metric_has_its_help_and_type_and_the_prefix() -> None:
    numbers = Numbers(faults=Counter({"missing": 2}), oldest_open_ms=1_000, silent_open_ms=4_000)
    text = page(numbers, prefix='a"b', now=10.0)
    families = re.findall(r"^# TYPE (\S+) (counter|gauge)$", text, re.MULTILINE)
    assert [name for name, _ in families] == re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE)
    assert len(families) == 12
    for line in text.splitlines():
        if not line.startswith("#"):
            assert 'prefix="a\\"b"' in line
    told = samples(page(numbers, prefix="audit", now=10.0))
    assert told['faults_total{kind="missing"}'] == 2
    assert (told["oldest_open_stream_age_seconds"], told["open_stream_silence_seconds"]) == (9.0, 6.0)
    assert told['rounds_total{result="failed"}'] == 0
    assert samples(page(Numbers(), prefix="audit", now=10.0))["oldest_open_stream_age_seconds"] == 0


def test_prometheus_own_parser_reads_the_page() -> None:
    parser = pytest.importorskip("prometheus_client.parser")

    numbers = Numbers(faults=Counter({"missing": 2}))
    found: dict[str, Any] = {
        family.name: family.type
        for family in parser.text_string_to_metric_families(page(numbers, prefix="audit", now=1.0))
    }
    assert found["auditwire_verify_faults"] == "counter"
    assert found["auditwire_verify_up"] == "gauge"


def test_a_file_that_cannot_be_written_is_said_and_ends_nothing(tmp_path: Path, capsys: Captured) -> None:
    write_page(tmp_path / "none" / "audit.prom", "x")
    assert "the metrics could not be written to" in capsys.readouterr().err
    file = tmp_path / "audit.prom"
    for text in ("one\n", "two\n"):
        write_page(file, text)
        assert file.read_text() == text
    assert file.stat().st_mode & 0o777 == 0o644
