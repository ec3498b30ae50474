from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from bombardment import bombarded
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire import AuditEmitter
from auditwire.collectors import AuditCollector, JSONLSinkCollector
from auditwire.errors import CollectorClosed, ConfigurationError, EncodingError, SinkError
from auditwire.events import ALL_TYPES, AuditEvent, ErrorEvent, TurnStartEvent, event_from_dict

if TYPE_CHECKING:
    from pathlib import Path


class Foreign:
    event_type = "foreign"

    def __init__(self, fields: Any) -> None:
        self.fields = fields

    def to_dict(self) -> dict[str, Any]:
        if isinstance(self.fields, Exception):
            raise self.fields
        return self.fields  # type: ignore[no-any-return]  # also what is no dictionary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_it_is_a_collector(path: Path) -> None:
    with JSONLSinkCollector(path) as collector:
        assert isinstance(collector, AuditCollector)


@pytest.mark.parametrize("as_text", [True, False])
def test_each_event_is_a_line_of_the_file(path: Path, as_text: bool) -> None:
    made = [cls(session_id="s") for cls in ALL_TYPES.values()]
    with JSONLSinkCollector(str(path) if as_text else path) as collector:
        for event in made:
            collector.emit(event)
        collector.flush()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [event_from_dict(json.loads(line)) for line in lines] == made


def test_each_event_is_a_line_of_the_stream() -> None:
    stream = io.StringIO()
    event = TurnStartEvent(prompt_preview="Grüße\n")
    with JSONLSinkCollector(stream) as collector:
        collector.emit(event)
        collector.reopen()
        collector.flush()
    assert stream.getvalue() == event.to_json() + "\n"


def test_standard_output_is_a_stream(capsys: pytest.CaptureFixture[str]) -> None:
    event = ErrorEvent()
    JSONLSinkCollector(sys.stdout).emit(event)
    assert capsys.readouterr().out == event.to_json() + "\n"


def test_events_are_appended_and_the_file_can_be_rotated(path: Path) -> None:
    one, two, three = ErrorEvent(), ErrorEvent(), ErrorEvent()
    with JSONLSinkCollector(path) as collector:
        collector.emit(one)
    with JSONLSinkCollector(path) as collector:
        collector.emit(two)
        path.rename(path.with_suffix(".1"))
        collector.reopen()
        collector.emit(three)
    assert path.with_suffix(".1").read_text() == f"{one.to_json()}\n{two.to_json()}\n"
    assert path.read_text() == f"{three.to_json()}\n"


@pytest.mark.parametrize("to_file", [True, False])
def test_after_close_events_are_refused(path: Path, to_file: bool) -> None:
    collector = JSONLSinkCollector(path if to_file else io.StringIO())
    collector.close()
    collector.close()
    with pytest.raises(CollectorClosed):
        collector.emit(ErrorEvent())


@pytest.mark.parametrize("value", [io.BytesIO(), None, 3, object()])
def test_what_is_neither_path_nor_text_stream_is_refused(value: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=f"{type(value).__name__} is neither a path nor a text stream"
    ):
        JSONLSinkCollector(value)


def test_a_binary_file_is_refused(path: Path) -> None:
    with path.open("wb", buffering=0) as raw, pytest.raises(ConfigurationError):
        JSONLSinkCollector(raw)  # type: ignore[arg-type]  # what is tested


def test_a_foreign_event_is_written_with_its_type(path: Path) -> None:
    with JSONLSinkCollector(path) as collector:
        collector.emit(Foreign({"b": {1, 2}, "c": "\ud800\u2028"}))
        collector.emit(Foreign({"event_type": "its own"}))
    assert [json.loads(line) for line in path.read_text().split("\n")[:-1]] == [
        {"event_type": "foreign", "b": [1, 2], "c": "\ufffd\u2028"},
        {"event_type": "its own"},
    ]


@pytest.mark.parametrize("fields", [RuntimeError("broken"), 3, [1]])
def test_a_foreign_event_without_fields_is_an_encoding_error(path: Path, fields: Any) -> None:
    with (
        JSONLSinkCollector(path) as collector,
        pytest.raises(EncodingError, match=r"Foreign: event_type or to_dict\(\) failed"),
    ):
        collector.emit(Foreign(fields))
    assert path.read_bytes() == b""


@given(preview=st.text(st.characters()), metadata=st.dictionaries(st.text(st.characters()), st.floats()))
@settings(deadline=None)
def test_any_text_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, preview: str, metadata: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("any") / "f"
    event = TurnStartEvent(prompt_preview=preview, metadata=metadata)
    with JSONLSinkCollector(path) as collector:
        collector.emit(event)
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1
    assert json.loads(text) == event.to_dict()


def test_the_lock_s_timeout_is_handed_on(path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with JSONLSinkCollector(path, lock_timeout=0.0) as collector, path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SinkError, match=r"lock for 0.0 s"):
            collector.emit(ErrorEvent())


def test_an_event_of_20_mb_is_one_line(path: Path) -> None:
    with JSONLSinkCollector(path) as collector:
        collector.emit(TurnStartEvent(prompt_preview="x" * 20_000_000))
    assert json.loads(path.read_text())["prompt_preview"] == "x" * 20_000_000


@pytest.mark.parametrize("to_file", [True, False])
def test_an_emitter_may_be_used_in_a_signal_handler(path: Path, to_file: bool) -> None:
    stream = io.StringIO()
    emitter = AuditEmitter(JSONLSinkCollector(path if to_file else stream), on_error="raise")
    handled = emitted = 0

    def handle() -> None:
        nonlocal handled
        emitter.emit_error("signal")
        handled += 1

    with bombarded(handle) as order:
        while handled < 300:
            order()
            emitter.emit_error("loop")
            emitted += 1
    emitter.close()
    text = path.read_text() if to_file else stream.getvalue()
    types = [json.loads(line)["error_type"] for line in text.splitlines()]
    assert types.count("signal") == handled
    assert types.count("loop") == emitted


def test_events_of_your_own_class_are_written_as_they_are(path: Path) -> None:
    class Mine(AuditEvent):
        event_type = "mine"

    with JSONLSinkCollector(path) as collector:
        collector.emit(Mine(session_id="s"))
    assert json.loads(path.read_text())["event_type"] == "mine"
