from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import logging
import re
import threading
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import events
from auditwire.collectors.composite import CompositeCollector
from auditwire.collectors.memory import InMemoryCollector
from auditwire.emitter import AuditEmitter
from auditwire.errors import CollectorGroupError, ConfigurationError, FlushTimeout, JournalFull
from auditwire.events import EVENT_TYPES, AuditEvent, CustomEvent, ErrorEvent, ToolCallAttemptEvent
from auditwire.render import DigestKey

if TYPE_CHECKING:
    from collections.abc import Callable

# The public contract, letter for letter: names, order and defaults of what may be given by position.
CONTRACT = """
emit_turn_start(agent_id=None, turn_id=None, prompt='')
emit_turn_end(agent_id=None, turn_id=None, content='', fc_count=0)
emit_tool_call_attempt(tool_name, args='', agent_id=None, turn_id=None)
emit_tool_call_complete(tool_name, status='success', duration_ms=0.0, result='', agent_id=None, turn_id=None)
emit_tool_call_failure(tool_name, error_type='', error_msg='', agent_id=None, turn_id=None)
emit_tool_policy_decision(tool_name, agent_id=None, action='', source='', turn_id=None)
emit_tool_loop_warning(tool_name, pattern='', severity='warning', count=0, agent_id=None, turn_id=None)
emit_loop_warning(tool_name, pattern='', severity='warning', count=0, agent_id=None, turn_id=None)
emit_tool_loop_block(tool_name, pattern='', count=0, agent_id=None, turn_id=None)
emit_sandbox_decision(tool_name, context='', reason='', backend_type='', agent_id=None, turn_id=None)
emit_hook_mutation(hook_name, tool_name='', agent_id=None, field='', turn_id=None)
emit_error(error_type='', error_msg='', context='', agent_id=None, turn_id=None)
emit_agent_switch(from_agent, to_agent, reason='', agent_id=None, turn_id=None)
emit_skill_used(skill_name, version='', outcome='unknown', duration_ms=0.0, triggered_automatically=True, \
agent_id=None, turn_id=None)
emit_skill_authored(skill_name, version='', source_path='', tool_count=0, unique_tools=None, \
confirmed_by_user=False, agent_id=None, turn_id=None)
emit_skill_feedback(skill_name, rating='neutral', reason='', source='user', agent_id=None, turn_id=None)
emit_model_call(model, provider='', operation='chat', status='success', duration_ms=0.0, input_tokens=0, \
output_tokens=0, finish_reason='', error_type='', agent_id=None, turn_id=None)
emit_approval(tool_name, decision='', approver_id='', approver_type='user', reason='', \
agent_id=None, turn_id=None)
"""
METHODS = re.findall(r"^(\w+)\((.*)\)$", CONTRACT, re.MULTILINE)

# What each method makes of arguments that are all given: class, and the type's own fields.
EXAMPLES: list[tuple[str, tuple[Any, ...], type[AuditEvent], dict[str, Any]]] = [
    (
        "emit_turn_start",
        ("a", "t", "hello"),
        events.TurnStartEvent,
        {"prompt_preview": "hello", "prompt_length": 5},
    ),
    (
        "emit_turn_end",
        ("a", "t", "bye", 2),
        events.TurnEndEvent,
        {"content_preview": "bye", "content_length": 3, "function_calls_count": 2},
    ),
    (
        "emit_tool_call_attempt",
        ("search", {"q": 1}, "a", "t"),
        events.ToolCallAttemptEvent,
        {"tool_name": "search", "arguments_preview": '{"q":1}', "arguments_length": 7},
    ),
    (
        "emit_tool_call_complete",
        ("search", "partial", 1.5, ["r"], "a", "t"),
        events.ToolCallCompleteEvent,
        {
            "tool_name": "search",
            "status": "partial",
            "duration_ms": 1.5,
            "result_preview": '["r"]',
            "result_length": 5,
        },
    ),
    (
        "emit_tool_call_failure",
        ("search", "TimeoutError", "late", "a", "t"),
        events.ToolCallFailureEvent,
        {"tool_name": "search", "error_type": "TimeoutError", "error_message": "late"},
    ),
    (
        "emit_tool_policy_decision",
        ("rm", "a", "deny", "policy.yaml", "t"),
        events.ToolPolicyDecisionEvent,
        {"tool_name": "rm", "action": "deny", "policy_source": "policy.yaml"},
    ),
    (
        "emit_tool_loop_warning",
        ("search", "same args", "critical", 3, "a", "t"),
        events.ToolLoopWarningEvent,
        {
            "tool_name": "search",
            "pattern": "same args",
            "severity_level": "critical",
            "call_count": 3,
            "severity": "warning",
        },
    ),
    (
        "emit_loop_warning",
        ("search", "same args", "low", 3, "a", "t"),
        events.ToolLoopWarningEvent,
        {"tool_name": "search", "severity_level": "low"},
    ),
    (
        "emit_tool_loop_block",
        ("search", "same args", 5, "a", "t"),
        events.ToolLoopBlockEvent,
        {"tool_name": "search", "pattern": "same args", "call_count": 5},
    ),
    (
        "emit_sandbox_decision",
        ("bash", "untrusted", "writes files", "container", "a", "t"),
        events.SandboxDecisionEvent,
        {
            "tool_name": "bash",
            "context": "untrusted",
            "reason": "writes files",
            "backend_type": "container",
        },
    ),
    (
        "emit_hook_mutation",
        ("redact", "search", "a", "args.q", "t"),
        events.HookMutationEvent,
        {"hook_name": "redact", "tool_name": "search", "mutated_field": "args.q"},
    ),
    (
        "emit_error",
        ("ValueError", "bad", "parsing", "a", "t"),
        events.ErrorEvent,
        {"error_type": "ValueError", "error_message": "bad", "error_context": "parsing"},
    ),
    (
        "emit_agent_switch",
        ("planner", "coder", "code to write", "a", "t"),
        events.AgentSwitchEvent,
        {"from_agent": "planner", "to_agent": "coder", "reason": "code to write"},
    ),
    (
        "emit_skill_used",
        ("deploy", "1.2", "success", 9.5, False, "a", "t"),
        events.SkillUsedEvent,
        {
            "skill_name": "deploy",
            "version": "1.2",
            "outcome": "success",
            "duration_ms": 9.5,
            "triggered_automatically": False,
        },
    ),
    (
        "emit_skill_authored",
        ("deploy", "1.0", "/skills/deploy", 4, ("ssh", "git"), True, "a", "t"),
        events.SkillAuthoredEvent,
        {
            "skill_name": "deploy",
            "version": "1.0",
            "source_path": "/skills/deploy",
            "tool_count": 4,
            "unique_tools": ["ssh", "git"],
            "confirmed_by_user": True,
        },
    ),
    (
        "emit_skill_feedback",
        ("deploy", "good", "fast", "ci", "a", "t"),
        events.SkillFeedbackEvent,
        {"skill_name": "deploy", "rating": "good", "reason": "fast", "source": "ci"},
    ),
    (
        "emit_model_call",
        ("m-1", "acme", "embeddings", "error", 12.5, 10, 20, "stop", "RateLimit", "a", "t"),
        events.ModelCallEvent,
        {
            "model": "m-1",
            "provider": "acme",
            "operation": "embeddings",
            "status": "error",
            "duration_ms": 12.5,
            "input_tokens": 10,
            "output_tokens": 20,
            "finish_reason": "stop",
            "error_type": "RateLimit",
        },
    ),
    (
        "emit_approval",
        ("rm", "approved", "u-7", "service", "night shift", "a", "t"),
        events.ApprovalEvent,
        {
            "tool_name": "rm",
            "decision": "approved",
            "approver_id": "u-7",
            "approver_type": "service",
            "reason": "night shift",
        },
    ),
]

each_method = pytest.mark.parametrize(
    ("method", "arguments", "cls", "own"), EXAMPLES, ids=[example[0] for example in EXAMPLES]
)


def emitted(emitter: AuditEmitter) -> list[AuditEvent]:
    assert isinstance(emitter.collector, InMemoryCollector)
    return emitter.collector.get_events()


class Refusing(InMemoryCollector):
    """Refuses every event with the error it was given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, event: AuditEvent) -> None:
        raise self.error


# -- the vocabulary --------------------------------------------------------------------------------


def test_the_contract_is_all_there_is() -> None:
    public = {name for name in dir(AuditEmitter) if name.startswith("emit_")}
    assert public == {name for name, _ in METHODS}
    assert {cls for _, _, cls, _ in EXAMPLES} == set(EVENT_TYPES.values()) - {CustomEvent}
    assert [example[0] for example in EXAMPLES] == [name for name, _ in METHODS]


@pytest.mark.parametrize(("name", "parameters"), METHODS, ids=[name for name, _ in METHODS])
def test_names_order_and_defaults_of_positional_parameters_are_the_contract(
    name: str, parameters: str
) -> None:
    signature = inspect.signature(getattr(AuditEmitter, name))
    _self, *given = signature.parameters.values()
    positional = [p for p in given if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in positional
    ] == parameters.split(", ")
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in given[len(positional) :])


@each_method
def test_arguments_by_position_land_in_their_fields(
    method: str, arguments: tuple[Any, ...], cls: type[AuditEvent], own: dict[str, Any]
) -> None:
    emitter = AuditEmitter()
    getattr(emitter, method)(*arguments)
    [event] = emitted(emitter)
    assert type(event) is cls
    assert (event.agent_id, event.turn_id) == ("a", "t")
    assert {name: getattr(event, name) for name in own} == own


@each_method
def test_what_is_left_out_is_the_default_of_the_event(
    method: str, arguments: tuple[Any, ...], cls: type[AuditEvent], own: dict[str, Any]
) -> None:
    emitter = AuditEmitter()
    call = getattr(emitter, method)
    required = [p for p in inspect.signature(call).parameters.values() if p.default is p.empty]
    call(*arguments[: len(required)])
    [event] = emitted(emitter)
    default = cls()
    given = {"event_id", "timestamp_us", *(p.name for p in required)}
    if method == "emit_turn_start":
        given.add("turn_id")
    for field in fields(cls):
        if field.name not in given:
            assert getattr(event, field.name) == getattr(default, field.name), field.name


@each_method
def test_metadata_is_copied_into_the_event(
    method: str, arguments: tuple[Any, ...], cls: type[AuditEvent], own: dict[str, Any]
) -> None:
    emitter = AuditEmitter()
    metadata = {"k": 1}
    getattr(emitter, method)(*arguments, metadata=metadata)
    metadata["k"] = 2
    assert emitted(emitter)[0].metadata == {"k": 1}


def test_metadata_that_is_no_mapping_is_kept_under_its_name() -> None:
    emitter = AuditEmitter()
    emitter.emit_error(metadata=3)  # type: ignore[arg-type]  # what is tested
    assert emitted(emitter)[0].metadata == {"metadata": 3}


@each_method
def test_every_tool_event_takes_the_id_of_its_call(
    method: str, arguments: tuple[Any, ...], cls: type[AuditEvent], own: dict[str, Any]
) -> None:
    emitter = AuditEmitter()
    if "tool_call_id" in {field.name for field in fields(cls)}:
        getattr(emitter, method)(*arguments, tool_call_id="call-1")
        assert emitted(emitter)[0].to_dict()["tool_call_id"] == "call-1"
    else:
        with pytest.raises(TypeError):
            getattr(emitter, method)(*arguments, tool_call_id="call-1")


def test_a_turn_id_is_made_of_12_lower_case_hex_digits_and_returned() -> None:
    emitter = AuditEmitter()
    made = {emitter.emit_turn_start() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"[0-9a-f]{12}", turn) for turn in made)
    assert {event.turn_id for event in emitted(emitter)} == made


def test_a_turn_id_that_is_given_is_kept_and_returned() -> None:
    emitter = AuditEmitter()
    assert emitter.emit_turn_start(turn_id="mine") == "mine"
    assert emitter.emit_turn_start(turn_id="") == ""
    assert [event.turn_id for event in emitted(emitter)] == ["mine", ""]


def test_a_turn_names_the_turn_that_started_it() -> None:
    emitter = AuditEmitter()
    emitter.emit_turn_start(parent_turn_id="p", parent_agent_id="boss")
    [event] = emitted(emitter)
    assert isinstance(event, events.TurnStartEvent)
    assert (event.parent_turn_id, event.parent_agent_id) == ("p", "boss")


def test_an_error_may_be_less_than_an_error() -> None:
    emitter = AuditEmitter()
    emitter.emit_error("Deprecated", severity="warning")
    assert emitted(emitter)[0].severity == "warning"


def test_one_text_is_one_tool_and_not_its_characters() -> None:
    emitter = AuditEmitter()
    emitter.emit_skill_authored("s", unique_tools="ssh")
    emitter.emit_skill_authored("s", unique_tools=(name for name in ("a", "b")))
    emitter.emit_skill_authored("s", unique_tools=7)  # type: ignore[arg-type]  # what is tested
    tools = [event.to_dict()["unique_tools"] for event in emitted(emitter)]
    assert tools == [["ssh"], ["a", "b"], ["7"]]


# -- previews --------------------------------------------------------------------------------------


def test_a_preview_keeps_200_characters_and_the_full_length() -> None:
    emitter = AuditEmitter()
    text = "ä" * 150 + "b" * 150
    emitter.emit_turn_start(prompt=text)
    emitter.emit_turn_end(content=text)
    emitter.emit_tool_call_attempt("t", args=text)
    emitter.emit_tool_call_complete("t", result=text)
    for event, field in zip(emitted(emitter), ["prompt", "content", "arguments", "result"], strict=True):
        assert getattr(event, f"{field}_preview") == text[:200]
        assert getattr(event, f"{field}_length") == 300


@pytest.mark.parametrize(("chars", "kept"), [(0, ""), (3, "hel"), (100, "hello")])
def test_the_length_of_previews_can_be_set(chars: int, kept: str) -> None:
    emitter = AuditEmitter(preview_chars=chars)
    emitter.emit_turn_start(prompt="hello")
    assert emitted(emitter)[0].to_dict()["prompt_preview"] == kept


def test_a_value_that_cannot_be_rendered_is_counted_and_logged_and_never_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise ValueError("no text")

    emitter = AuditEmitter(on_error="raise")
    emitter.emit_tool_call_attempt("t", args=Unprintable())
    emitter.emit_tool_call_attempt("t", args=Unprintable())
    assert emitter.unprintable == 2
    assert emitter.refused == 0
    assert emitted(emitter)[0].to_dict()["arguments_preview"] == "<unprintable Unprintable>"
    assert len(caplog.records) == 1
    assert "ValueError: no text" in caplog.text


# -- identities ------------------------------------------------------------------------------------

IDENTITIES = {
    "session_id": "s",
    "agent_id": "a",
    "principal_id": "u",
    "principal_type": "user",
    "tenant_id": "acme",
}


def test_every_event_gets_the_identities_of_its_emitter() -> None:
    emitter = AuditEmitter(**IDENTITIES)  # type: ignore[arg-type]  # the keys are those of the constructor
    emitter.emit_error()
    emitter.emit(ErrorEvent())
    for event in emitted(emitter):
        assert {name: getattr(event, name) for name in IDENTITIES} == IDENTITIES


def test_an_identity_of_the_event_wins_even_if_it_is_empty() -> None:
    emitter = AuditEmitter(**IDENTITIES)  # type: ignore[arg-type]  # as above
    emitter.emit_error(agent_id="other")
    emitter.emit(ErrorEvent(session_id="", tenant_id="t2"))
    first, second = emitted(emitter)
    assert (first.agent_id, first.session_id) == ("other", "s")
    assert (second.session_id, second.tenant_id, second.agent_id) == ("", "t2", "a")


def test_an_emitter_without_identities_leaves_them_out() -> None:
    emitter = AuditEmitter()
    emitter.emit_error()
    assert all(getattr(emitted(emitter)[0], name) is None for name in IDENTITIES)
    assert emitter.session_id is None


@dataclass
class Foreign:
    event_type: str = "foreign"
    session_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"session_id": self.session_id}


@dataclass(frozen=True)
class Frozen:
    event_type: str = "frozen"
    session_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {}


class Bare:
    event_type = "bare"

    def to_dict(self) -> dict[str, Any]:
        return {}


class Hostile:
    event_type = "hostile"

    @property
    def session_id(self) -> str:
        raise RuntimeError

    def to_dict(self) -> dict[str, Any]:
        return {}


def test_a_foreign_event_is_filled_in_where_it_lets_itself_be() -> None:
    emitter = AuditEmitter(session_id="s", agent_id="a", on_error="raise")
    foreign, frozen, bare, hostile = Foreign(), Frozen(), Bare(), Hostile()
    for event in (foreign, frozen, bare, hostile):
        emitter.emit(event)
    assert emitted(emitter) == [foreign, frozen, bare, hostile]
    assert foreign.session_id == "s"
    assert frozen.session_id is None
    assert vars(bare) == {}, "an attribute that is not there is not made"


def test_a_session_view_shares_everything_but_the_session() -> None:
    emitter = AuditEmitter(session_id="s", agent_id="a", preview_chars=3)
    view = emitter.for_session("other")
    view.emit_turn_start(prompt="hello")
    emitter.emit_error()
    assert view.collector is emitter.collector
    first, second = emitted(emitter)
    assert (first.session_id, first.agent_id) == ("other", "a")
    assert first.to_dict()["prompt_preview"] == "hel"
    assert second.session_id == "s"
    assert (view.session_id, emitter.session_id) == ("other", "s")


def test_a_session_view_can_be_without_a_session() -> None:
    view = AuditEmitter(session_id="s").for_session(None)
    view.emit_error()
    assert emitted(view)[0].session_id is None


def test_a_subclass_makes_views_of_its_own_class() -> None:
    class Mine(AuditEmitter):
        pass

    assert type(Mine().for_session("s")) is Mine


def test_refusals_of_a_view_count_for_its_emitter() -> None:
    emitter = AuditEmitter(Refusing(JournalFull("full")))
    emitter.for_session("x").emit_error()
    emitter.for_session("x").for_session("y").emit_error()
    assert emitter.refused == 2


# -- objects too large -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("emit_turn_start", (None, None)),
        ("emit_turn_end", (None, None)),
        ("emit_tool_call_attempt", ("search",)),
        ("emit_tool_call_complete", ("search", "success", 0.0)),
    ],
)
def test_what_a_text_does_not_hold_is_told_in_the_event_s_metadata(
    method: str, arguments: tuple[Any, ...]
) -> None:
    emitter = AuditEmitter()
    given = {"mine": 1}
    getattr(emitter, method)(*arguments, list(range(50_000)), metadata=given)
    getattr(emitter, method)(*arguments, {"blob": "x" * 2_000_000})
    getattr(emitter, method)(*arguments, [1, 2, 3])
    metadata = [event.metadata for event in emitted(emitter)]
    assert metadata == [
        {"mine": 1, "auditwire.rendered": {"items_left_out": 40_000, "characters_left_out": 0}},
        {"auditwire.rendered": {"items_left_out": 0, "characters_left_out": 1_000_004}},
        {},
    ]
    assert given == {"mine": 1}


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [JournalFull("64 MiB pending"), ZeroDivisionError("a bug")])
def test_a_refused_event_is_counted_and_logged_and_the_agent_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    emitter = AuditEmitter(Refusing(error))
    assert len(emitter.emit_turn_start()) == 12
    emitter.emit(ErrorEvent())
    assert emitter.refused == 2
    assert len(caplog.records) == 1
    assert f"{type(error).__name__}: {error}" in caplog.text


@pytest.mark.parametrize("error", [JournalFull("64 MiB pending"), ZeroDivisionError("a bug")])
def test_a_refused_event_is_raised_as_it_is_when_asked_for(error: Exception) -> None:
    emitter = AuditEmitter(Refusing(error), on_error="raise")
    with pytest.raises(type(error)) as caught:
        emitter.emit_turn_start()
    assert caught.value is error
    assert emitter.refused == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interruption_passes_through_and_is_no_refusal(stop: type[BaseException]) -> None:
    emitter = AuditEmitter(Refusing(stop()))
    with pytest.raises(stop):
        emitter.emit_error()
    assert emitter.refused == 0


def test_a_composite_s_failures_are_one_refusal() -> None:
    kept = InMemoryCollector()
    composite = CompositeCollector([Refusing(JournalFull("a")), kept, Refusing(JournalFull("b"))])
    emitter = AuditEmitter(composite, on_error="raise")
    with pytest.raises(CollectorGroupError):
        emitter.emit_error()
    assert emitter.refused == 1
    assert len(kept) == 1


def test_closing_tells_of_the_refusals_that_no_line_has_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with AuditEmitter(Refusing(JournalFull("full"))) as emitter:
        for _ in range(5):
            emitter.emit_error()
    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "audit events refused: 1",
        "audit events refused: 4 since the last line",
    ]


@pytest.mark.parametrize("value", ["ignore", "", None, True])
def test_an_unknown_on_error_is_refused_with_the_choices(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'on_error: .* neither "log" nor "raise"') as caught:
        AuditEmitter(on_error=value)
    assert caught.value.key == "on_error"


@pytest.mark.parametrize("value", [-1, "200", None, True, 1.5])
def test_preview_chars_that_are_no_number_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuditEmitter(preview_chars=value)
    assert caught.value.key == "preview_chars"


# -- redaction and digests ---------------------------------------------------------------------------


RENDERED: list[tuple[str, tuple[Any, ...], str]] = [
    ("emit_turn_start", (None, None, "my secret"), "prompt"),
    ("emit_turn_end", (None, None, "my secret"), "content"),
    ("emit_tool_call_attempt", ("search", "my secret"), "arguments"),
    ("emit_tool_call_complete", ("search", "success", 0.0, "my secret"), "result"),
]
each_rendered = pytest.mark.parametrize(("method", "arguments", "field"), RENDERED)


def shown(emitter: AuditEmitter, field: str) -> tuple[str, int, str | None]:
    [event] = emitted(emitter)
    return tuple(getattr(event, f"{field}_{part}") for part in ("preview", "length", "digest"))


@each_rendered
def test_there_is_no_digest_unless_asked_for(method: str, arguments: tuple[Any, ...], field: str) -> None:
    emitter = AuditEmitter()
    getattr(emitter, method)(*arguments)
    assert shown(emitter, field) == ("my secret", 9, None)


@each_rendered
@pytest.mark.parametrize("key", [None, DigestKey("k1", b"0123456789abcdef")], ids=["plain", "keyed"])
def test_a_digest_is_of_the_full_redacted_text(
    key: DigestKey | None, method: str, arguments: tuple[Any, ...], field: str
) -> None:
    emitter = AuditEmitter(
        preview_chars=3, digests=key or "sha256", redact=lambda text: text.replace("secret", "***")
    )
    getattr(emitter.for_session("s"), method)(*arguments)
    text, length, digest = shown(emitter, field)
    assert (text, length) == ("my ", 6)
    if key is None:
        assert digest == f"sha256:{hashlib.sha256(b'my ***').hexdigest()}"
    else:
        assert digest == f"hmac-sha256:k1:{hmac.new(key.secret, b'my ***', 'sha256').hexdigest()}"


@each_rendered
def test_a_text_that_cannot_be_redacted_is_neither_shown_nor_logged(
    method: str, arguments: tuple[Any, ...], field: str, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(text: str) -> str:
        raise ValueError(text)

    with AuditEmitter(digests="sha256", redact=failing, on_error="raise") as emitter:
        getattr(emitter, method)(*arguments)
        getattr(emitter.for_session("s"), method)(*arguments)
        assert emitter.redaction_failures == 2
        assert emitter.unprintable == 0
    assert {event.to_dict()[f"{field}_preview"] for event in emitted(emitter)} == {"<redaction failed>"}
    assert {event.to_dict()[f"{field}_digest"] for event in emitted(emitter)} == {None}
    assert not any("secret" in event.to_json() for event in emitted(emitter))
    assert "values whose text could not be redacted: 1" in caplog.text
    assert "ValueError in failing" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("name", "value"), [("digests", "md5"), ("digests", b"key"), ("redact", "mask")])
def test_settings_of_redaction_and_digests_are_checked_at_once(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuditEmitter(**{name: value})
    assert caught.value.key == name


# -- collector, flush, close -----------------------------------------------------------------------


def test_the_default_collector_is_one_in_memory_of_its_own() -> None:
    one, other = AuditEmitter(), AuditEmitter()
    assert isinstance(one.collector, InMemoryCollector)
    assert one.collector is not other.collector


def test_an_empty_collector_is_not_taken_for_none() -> None:
    collector = InMemoryCollector()
    assert AuditEmitter(collector).collector is collector


class Timed:
    """A collector whose flush takes a timeout, and which can be closed."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.error: Exception | None = None

    def emit(self, event: AuditEvent) -> None:
        self.calls.append(event)

    def flush(self, timeout: float = 30.0) -> None:
        self.calls.append(("flush", timeout, threading.current_thread()))
        if self.error:
            raise self.error

    def close(self) -> None:
        self.calls.append(("close", threading.current_thread()))
        if self.error:
            raise self.error


class Minimal:
    """A collector with no more than what it must have."""

    def __init__(self) -> None:
        self.flushed = 0

    def emit(self, event: AuditEvent) -> None: ...

    def flush(self) -> None:
        self.flushed += 1


def test_flush_hands_its_timeout_to_a_collector_that_takes_one() -> None:
    collector = Timed()
    emitter = AuditEmitter(collector)
    emitter.flush()
    emitter.flush(1.5)
    emitter.flush(timeout=2)
    assert [call[:2] for call in collector.calls] == [("flush", 30.0), ("flush", 1.5), ("flush", 2)]


def test_flush_does_without_a_timeout_where_the_collector_takes_none() -> None:
    collector = Minimal()
    AuditEmitter(collector).flush(1.5)
    assert collector.flushed == 1


def test_flush_and_close_raise_whatever_on_error_says() -> None:
    collector = Timed()
    collector.error = FlushTimeout("late", pending=3)
    emitter = AuditEmitter(collector, on_error="log")
    with pytest.raises(FlushTimeout):
        emitter.flush(0)
    with pytest.raises(FlushTimeout):
        emitter.close()
    assert emitter.refused == 0


def test_close_closes_a_collector_that_can_be_closed() -> None:
    collector = Timed()
    AuditEmitter(collector).close()
    assert [call[0] for call in collector.calls] == ["close"]
    AuditEmitter(Minimal()).close()


def test_with_closes_at_the_end() -> None:
    collector = Timed()
    with AuditEmitter(collector) as emitter:
        assert isinstance(emitter, AuditEmitter)
        assert not collector.calls
    assert [call[0] for call in collector.calls] == ["close"]


def test_the_error_of_a_block_is_not_hidden_by_that_of_close(caplog: pytest.LogCaptureFixture) -> None:
    collector = Timed()
    collector.error = FlushTimeout("late", pending=3)
    with pytest.raises(ZeroDivisionError), AuditEmitter(collector):
        raise ZeroDivisionError
    assert "late" in caplog.text


def test_closing_a_view_leaves_the_collector_open() -> None:
    collector = Timed()
    with AuditEmitter(collector).for_session("s"):
        pass
    assert collector.calls == []


def test_async_with_closes_in_another_thread() -> None:
    collector = Timed()

    async def run() -> None:
        async with AuditEmitter(collector) as emitter:
            await emitter.aflush(2.5)
            emitter.emit_error()

    asyncio.run(run())
    flush, _event, close = collector.calls
    assert flush[:2] == ("flush", 2.5)
    assert close[0] == "close"
    assert threading.main_thread() not in (flush[-1], close[-1]), "the event loop would have stopped"


def test_async_with_does_not_hide_the_error_of_its_block(caplog: pytest.LogCaptureFixture) -> None:
    collector = Timed()
    collector.error = FlushTimeout("late", pending=3)

    async def run(error: Exception | None) -> None:
        async with AuditEmitter(collector):
            if error:
                raise error

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run(ZeroDivisionError()))
    assert "late" in caplog.text
    with pytest.raises(FlushTimeout):
        asyncio.run(run(None))


# -- threads ---------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_share_an_emitter_without_losing_or_mixing_events() -> None:
    emitter = AuditEmitter(agent_id="a")

    def work(number: int) -> None:
        session = emitter.for_session(f"s{number}")
        for n in range(1_000):
            session.emit_tool_call_attempt(f"tool-{number}", args=str(n), turn_id=f"t{number}")

    in_threads(8, work)
    seen: dict[str | None, list[str]] = {}
    for event in emitted(emitter):
        assert isinstance(event, ToolCallAttemptEvent)
        number = str(event.session_id)[1:]
        assert (event.tool_name, event.turn_id) == (f"tool-{number}", f"t{number}")
        seen.setdefault(event.session_id, []).append(event.arguments_preview)
    assert seen == {f"s{number}": [str(n) for n in range(1_000)] for number in range(8)}
    assert len({event.event_id for event in emitted(emitter)}) == 8_000


def test_no_lock_is_held_around_the_collector() -> None:
    meeting = threading.Barrier(4, timeout=60)

    class Meeting(InMemoryCollector):
        def emit(self, event: AuditEvent) -> None:
            meeting.wait()  # broken unless all four threads are inside at once
            super().emit(event)

    emitter = AuditEmitter(Meeting(), on_error="raise")
    in_threads(4, lambda _: emitter.emit_error())
    assert len(emitted(emitter)) == 4


def test_a_log_handler_may_emit_what_was_logged(caplog: pytest.LogCaptureFixture) -> None:
    emitter = AuditEmitter(Refusing(JournalFull("full")))

    class Auditing(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            emitter.emit_error("log", record.getMessage())
            return True

    logger = logging.getLogger("auditwire")
    handler = Auditing()
    logger.addHandler(handler)
    try:
        emitter.emit_error()
    finally:
        logger.removeHandler(handler)
    assert emitter.refused == 2


def test_any_object_with_emit_and_flush_is_a_collector() -> None:
    seen: list[AuditEvent] = []
    collector = SimpleNamespace(emit=seen.append, flush=lambda: None)
    AuditEmitter(collector).emit_error()
    assert len(seen) == 1
