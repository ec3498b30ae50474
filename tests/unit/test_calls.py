"""Turns and tool calls as blocks: whatever happens, one start and one end, one attempt and one outcome."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import AuditEmitter, InMemoryCollector
from auditwire.context import NOWHERE, current_scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


@pytest.fixture
def audit() -> AuditEmitter:
    return AuditEmitter(session_id="s", agent_id="main", on_error="raise")


def events(audit: AuditEmitter) -> list[Any]:
    assert isinstance(audit.collector, InMemoryCollector)
    return audit.collector.get_events()


def kinds(audit: AuditEmitter) -> list[str]:
    return [e.event_type for e in events(audit)]


def last(audit: AuditEmitter, kind: str) -> Any:
    return [e for e in events(audit) if e.event_type == kind][-1]


def test_a_turn_with_a_call_tells_the_whole_story(audit: AuditEmitter) -> None:
    with audit.turn(prompt="find it", agent_id="planner") as turn:
        with audit.tool_call("search", args="q=1") as call:
            call.result = "found"
        turn.content = "here it is"
    assert kinds(audit) == ["turn_start", "tool_call_attempt", "tool_call_complete", "turn_end"]
    start, attempt, complete, end = events(audit)
    assert {e.turn_id for e in events(audit)} == {turn.id}
    assert {e.agent_id for e in events(audit)} == {"planner"}
    assert {e.session_id for e in events(audit)} == {"s"}
    assert (start.prompt_preview, start.parent_turn_id, start.parent_agent_id) == ("find it", None, None)
    assert attempt.tool_call_id == complete.tool_call_id == call.id
    assert (attempt.arguments_preview, complete.result_preview) == ("q=1", "found")
    assert complete.status == "success"
    assert complete.duration_ms >= 0
    assert (end.content_preview, end.function_calls_count) == ("here it is", 1)
    assert current_scope() is NOWHERE


class Stop(BaseException):
    """As KeyboardInterrupt, SystemExit and CancelledError."""


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, Stop])
def test_what_a_block_raises_is_told_and_goes_on(audit: AuditEmitter, kind: type[BaseException]) -> None:
    with pytest.raises(kind), audit.turn() as turn, audit.tool_call("t"):
        raise kind("why")
    assert kinds(audit) == ["turn_start", "tool_call_attempt", "tool_call_failure", "error", "turn_end"]
    failure, error = last(audit, "tool_call_failure"), last(audit, "error")
    assert (failure.error_type, failure.error_message) == (kind.__name__, "why")
    assert failure.metadata["duration_ms"] >= 0
    assert (error.error_type, error.error_context, error.turn_id) == (kind.__name__, "turn", turn.id)
    assert current_scope() is NOWHERE


def test_an_exception_that_cannot_be_printed_is_told_all_the_same(audit: AuditEmitter) -> None:
    class Mute(Exception):  # noqa: N818 - what it is
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(Mute), audit.tool_call("t"):
        raise Mute
    assert last(audit, "tool_call_failure").error_message == "<unprintable Mute: RuntimeError>"


def test_decisions_about_a_call_carry_its_id(audit: AuditEmitter) -> None:
    with audit.tool_call("rm", tool_call_id="c-1") as call:
        call.allowed("rules")
        call.asked("rules")
        call.sandboxed("docker", "untrusted", "shell")
        call.approved_by("ann", reason="ok")
        call.mutated("quote", "path")
        call.denied("rules")
    assert kinds(audit)[1:-1] == [
        "tool_policy_decision",
        "tool_policy_decision",
        "sandbox_decision",
        "approval",
        "hook_mutation",
        "tool_policy_decision",
    ]
    assert {e.tool_call_id for e in events(audit)} == {"c-1"}
    assert [e.action for e in events(audit) if e.event_type == "tool_policy_decision"] == [
        "allow",
        "ask",
        "deny",
    ]
    assert last(audit, "tool_call_complete").status == "denied"


def test_a_tool_may_say_that_it_failed_without_raising(audit: AuditEmitter) -> None:
    with audit.tool_call("t") as call:
        call.failed("HTTP 500", "sorry")
    failure = last(audit, "tool_call_failure")
    assert (failure.error_type, failure.error_message) == ("HTTP 500", "sorry")
    assert "tool_call_complete" not in kinds(audit)


def test_short_forms_of_a_turn_belong_to_it(audit: AuditEmitter) -> None:
    with audit.turn(agent_id="a") as turn:
        turn.loop_warning("t", "same", 3)
        turn.loop_block("t", "same", 4)
        turn.model_call("m-1", input_tokens=7)
        turn.agent_switch("b", "done")
        turn.error("Odd", "text", "here")
    assert kinds(audit)[1:-1] == [
        "tool_loop_warning",
        "tool_loop_block",
        "model_call",
        "agent_switch",
        "error",
    ]
    assert {e.turn_id for e in events(audit)} == {turn.id}
    assert last(audit, "agent_switch").from_agent == "a"
    assert last(audit, "turn_end").function_calls_count == 0


def test_a_turn_inside_a_call_is_a_sub_agents(audit: AuditEmitter) -> None:
    with (
        audit.turn(agent_id="boss") as outer,
        audit.tool_call("delegate"),
        audit.turn(agent_id="helper") as inner,
        audit.tool_call("work") as work,
    ):
        audit.emit_error("x")
    start = last(audit, "turn_start")
    assert (start.agent_id, start.parent_turn_id, start.parent_agent_id) == ("helper", outer.id, "boss")
    error = last(audit, "error")
    assert (error.turn_id, error.agent_id) == (inner.id, "helper")
    assert outer.calls == inner.calls == 1
    attempt = [e for e in events(audit) if e.event_type == "tool_call_attempt"][-1]
    assert attempt.tool_call_id == work.id
    assert "auditwire.parent_tool_call_id" not in attempt.metadata


def test_a_tool_that_calls_a_tool_names_the_call_it_happens_in(audit: AuditEmitter) -> None:
    with audit.turn() as turn, audit.tool_call("outer") as outer, audit.tool_call("inner", metadata={"k": 1}):
        pass
    inner = events(audit)[2]
    assert inner.metadata == {"k": 1, "auditwire.parent_tool_call_id": outer.id}
    assert turn.calls == 2


def test_plain_emits_read_the_context_for_what_they_do_not_say(audit: AuditEmitter) -> None:
    with audit.bind(session_id="bound", principal_id="ann", tenant_id="t"), audit.turn(agent_id="a") as turn:
        audit.emit_tool_policy_decision("x")
        audit.emit_tool_policy_decision("x", agent_id="b", turn_id="mine")
        audit.for_session("view").emit_error("y")
    first, second, third = events(audit)[1:4]
    assert (first.session_id, first.agent_id, first.turn_id) == ("bound", "a", turn.id)
    assert (first.principal_id, first.tenant_id, first.tool_call_id) == ("ann", "t", None)
    assert (second.agent_id, second.turn_id) == ("b", "mine")
    assert third.session_id == "view"
    audit.emit_error("outside")
    assert (events(audit)[-1].session_id, events(audit)[-1].turn_id) == ("s", None)


def test_decisions_inside_a_call_belong_to_it(audit: AuditEmitter) -> None:
    with audit.tool_call("t") as call:
        audit.emit_sandbox_decision("t")
    assert events(audit)[1].tool_call_id == call.id


def test_a_binding_may_be_entered_again(audit: AuditEmitter) -> None:
    binding = audit.bind(agent_id="x")
    with binding, binding:
        assert current_scope().agent_id == "x"
    assert current_scope() is NOWHERE


def test_a_turn_may_name_its_session(audit: AuditEmitter) -> None:
    with audit.turn(session_id="other", turn_id="t-1"):
        audit.emit_error("x")
    assert {e.session_id for e in events(audit)} == {"other"}
    assert {e.turn_id for e in events(audit)} == {"t-1"}


def test_start_and_finish_do_not_touch_the_context_and_happen_once(audit: AuditEmitter) -> None:
    turn = audit.turn(agent_id="a").start()
    turn.start()
    call = audit.tool_call("t", parent=turn)
    thread = threading.Thread(target=call.start)
    thread.start()
    thread.join()
    assert current_scope() is NOWHERE
    call.finish(TimeoutError("slow"))
    call.finish()
    turn.finish()
    turn.finish()
    assert kinds(audit) == ["turn_start", "tool_call_attempt", "tool_call_failure", "turn_end"]
    assert {e.turn_id for e in events(audit)} == {turn.id}
    assert last(audit, "turn_end").function_calls_count == 1


def test_nothing_is_told_of_what_never_began(audit: AuditEmitter) -> None:
    audit.tool_call("t").finish()
    assert events(audit) == []


def test_threads_see_the_turn_through_a_copied_context(audit: AuditEmitter) -> None:
    with audit.turn(agent_id="a") as turn:
        contexts = [contextvars.copy_context() for _ in range(8)]

        def work() -> None:
            with audit.tool_call("t"):
                pass

        threads = [threading.Thread(target=context.run, args=(work,)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {e.turn_id for e in events(audit)} == {turn.id}
    assert last(audit, "turn_end").function_calls_count == 8


def test_a_thousand_tasks_do_not_leak_into_each_other() -> None:
    audit = AuditEmitter(on_error="raise")

    async def request(number: int) -> None:
        async with (
            audit.bind(session_id=f"s-{number}", tenant_id=f"t-{number}"),
            audit.turn(agent_id=f"a-{number}", turn_id=f"turn-{number}"),
        ):
            await asyncio.sleep(0)
            await asyncio.gather(*(call(number) for _ in range(2)))

    async def call(number: int) -> None:
        async with audit.tool_call("t", args=str(number)):
            await asyncio.sleep(0)
            audit.emit_tool_policy_decision("t")

    async def main() -> None:
        await asyncio.gather(*(request(n) for n in range(1_000)))

    asyncio.run(main())
    assert len(events(audit)) == 1_000 * 8
    for event in events(audit):
        number = event.session_id.removeprefix("s-")
        assert (event.tenant_id, event.agent_id, event.turn_id) == (
            f"t-{number}",
            f"a-{number}",
            f"turn-{number}",
        )


def test_a_task_that_is_cancelled_or_times_out_ends_its_call(audit: AuditEmitter) -> None:
    async def slow() -> None:
        async with audit.tool_call("slow"):
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(slow(), 0.01)

    asyncio.run(main())
    assert kinds(audit) == ["tool_call_attempt", "tool_call_failure"] * 2
    assert {e.error_type for e in events(audit) if e.event_type == "tool_call_failure"} == {"CancelledError"}


# -- @audit.tool -----------------------------------------------------------------------------------


def test_a_function_is_a_tool_with_its_arguments_by_name(audit: AuditEmitter) -> None:
    @audit.tool
    def search(query: str, *, limit: int = 5) -> str:
        """Finds."""
        return f"{query}:{limit}"

    assert search("x", limit=2) == "x:2"
    assert (search.__name__, search.__doc__) == ("search", "Finds.")
    attempt, complete = events(audit)
    assert attempt.tool_name == "search"
    for word in ("query", "x", "limit", "2"):
        assert word in attempt.arguments_preview
    assert complete.result_preview == "x:2"


def test_a_method_is_a_tool_without_its_self(audit: AuditEmitter) -> None:
    class Files:
        @audit.tool(name="files.read")
        def read(self, path: str) -> str:
            return path

    assert Files().read("a.txt") == "a.txt"
    attempt = events(audit)[0]
    assert attempt.tool_name == "files.read"
    assert "self" not in attempt.arguments_preview


def test_arguments_and_results_can_be_kept_out(audit: AuditEmitter) -> None:
    @audit.tool(arguments=False, result=False)
    def secret(key: str) -> str:
        return key

    secret("hunter2")
    assert "hunter2" not in "".join(e.to_json() for e in events(audit))


def test_wrong_arguments_are_the_functions_to_complain_about(audit: AuditEmitter) -> None:
    @audit.tool
    def one(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="positional"):
        one(1, 2)  # type: ignore[call-arg]
    assert kinds(audit) == ["tool_call_attempt", "tool_call_failure"]
    with pytest.raises(TypeError):
        one(y=2)  # type: ignore[call-arg]


def test_a_callable_without_a_signature_is_a_tool_too(audit: AuditEmitter) -> None:
    class Odd:
        __signature__ = "nonsense"

        def __call__(self, x: int) -> int:
            return x + 1

    assert audit.tool(Odd())(1) == 2
    assert audit.tool(name="p")(dict.fromkeys)("ab", 0) == {"a": 0, "b": 0}
    assert events(audit)[0].tool_name == "Odd"


def test_a_coroutine_function_is_a_tool(audit: AuditEmitter) -> None:
    @audit.tool
    async def fetch(url: str) -> str:
        await asyncio.sleep(0)
        audit.emit_sandbox_decision("fetch")
        return url

    assert asyncio.run(fetch("u")) == "u"
    assert kinds(audit) == ["tool_call_attempt", "sandbox_decision", "tool_call_complete"]
    assert len({e.tool_call_id for e in events(audit)}) == 1


def counter(audit: AuditEmitter) -> Callable[[int], Generator[int, str, str]]:
    @audit.tool
    def count(limit: int) -> Generator[int, str, str]:
        said = ""
        for number in range(limit):
            assert current_scope().tool_call_id is not None
            try:
                said += (yield number) or ""
            except KeyError:
                said += "!"
        return said

    return count


def test_a_generator_is_one_call_and_its_context_is_not_the_callers(audit: AuditEmitter) -> None:
    generator = counter(audit)(3)
    assert events(audit) == []
    assert next(generator) == 0
    assert current_scope() is NOWHERE
    assert generator.send("a") == 1
    assert generator.throw(KeyError()) == 2
    with pytest.raises(StopIteration) as stopped:
        generator.send("b")
    assert stopped.value.value == "a!b"
    assert kinds(audit) == ["tool_call_attempt", "tool_call_complete"]
    assert "3" in last(audit, "tool_call_complete").result_preview


def test_a_generator_that_is_closed_early_or_dropped_ends_its_call(audit: AuditEmitter) -> None:
    generator = counter(audit)(9)
    next(generator)
    generator.close()
    complete = last(audit, "tool_call_complete")
    assert (complete.status, complete.result_preview) == ("closed", "<1 items>")
    dropped = counter(audit)(9)
    list(itertools.islice(dropped, 2))
    del dropped
    gc.collect()
    assert kinds(audit) == ["tool_call_attempt", "tool_call_complete"] * 2


def test_a_generator_that_raises_fails_its_call(audit: AuditEmitter) -> None:
    @audit.tool
    def broken() -> Generator[int, None, None]:
        yield 1
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        list(broken())
    assert kinds(audit) == ["tool_call_attempt", "tool_call_failure"]


def test_an_async_generator_is_one_call(audit: AuditEmitter) -> None:
    @audit.tool
    async def stream(limit: int) -> AsyncGenerator[int, None]:
        for number in range(limit):
            await asyncio.sleep(0)
            assert current_scope().tool_call_id is not None
            try:
                yield number
            except KeyError:
                yield -1

    async def main() -> None:
        assert [x async for x in stream(3)] == [0, 1, 2]
        assert current_scope() is NOWHERE
        closed = stream(9)
        assert await closed.__anext__() == 0
        await closed.aclose()
        thrown = stream(1)
        assert await thrown.__anext__() == 0
        assert await thrown.athrow(KeyError()) == -1
        with pytest.raises(ValueError, match="x"):
            await thrown.athrow(ValueError("x"))

    asyncio.run(main())
    assert kinds(audit) == [
        "tool_call_attempt",
        "tool_call_complete",
        "tool_call_attempt",
        "tool_call_complete",
        "tool_call_attempt",
        "tool_call_failure",
    ]
    statuses = [e.status for e in events(audit) if e.event_type == "tool_call_complete"]
    assert statuses == ["success", "closed"]
