"""The demo's agent: small and real, but for its mind. In comes an emitter, out go the events of one session.

Its tools really run, in a directory of its own: they list and read files, write one, start a Python process.
Around a call stands what stands around the tools of a grown agent: a policy, an approval, a guard against
loops, a hook that changes arguments, a sandbox. Only the planning is scripted: no model and no network are
asked, and the ``model_call`` events say so (provider ``scripted``, no tokens).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from auditwire.events import AuditEvent

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    from auditwire.emitter import AuditEmitter

__all__ = ["DemoAgent", "Stopped"]

PROMPT = "Count the words of my notes, write a report, and have it reviewed."

FILES = {
    "notes/monday.md": "Broker upgraded to 4.3 without a restart of the agents.\n",
    "notes/tuesday.md": "Rotated the credentials. Two agents needed a nudge.\n",
    "settings.json": '{"language": "en", }\n',
}

COUNT_WORDS = """\
import pathlib
print(sum(len(p.read_text().split()) for p in sorted(pathlib.Path("notes").glob("*.md"))))
"""

POLICY = {"run_python": "allow", "http_get": "deny", "write_file": "ask"}
"""Tool -> what its rule says; a tool without a rule runs without a decision."""

WARN_AT, BLOCK_AT = 3, 4
"""The same call, this often in one turn, is warned of, and then stopped."""

TIMEOUT_MOST = 5.0
"""Seconds that the hook leaves to a subprocess."""


@dataclass(slots=True, kw_only=True)
class WordsCounted(AuditEvent):
    """An event of the agent's own: it goes to the topic ``custom`` with its type's name."""

    event_type: ClassVar[str] = "words_counted"
    words: int = 0


class Stopped(Exception):  # noqa: N818 - as KeyboardInterrupt: asked for, no error
    """The demo was ended by whoever watches it."""


class Refused(Exception):  # noqa: N818 - an answer to the planner, no error of the agent
    """A tool was not run: denied by the policy or stopped as a loop."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the planner asks for."""

    tool: str
    arguments: dict[str, Any]


class DemoAgent:
    """A planner and a reviewer, and the tools of both.

    Args:
        audit: Where the events go; it has the session.
        workspace: An empty directory for the tools.
        stop: Set by another thread to end the agent before its next step.
        pause: Seconds between two steps, for a person who watches; 0.0 does not wait.
    """

    def __init__(
        self, audit: AuditEmitter, workspace: Path, stop: threading.Event, pause: float = 0.0
    ) -> None:
        self._audit = audit
        self._workspace = workspace
        self._stop = stop
        self._pause = pause
        self._turn = ""
        self._agent = "planner"
        self._calls: Counter[str] = Counter()
        self._tools: dict[str, Callable[..., str]] = {
            "list_files": self._list_files,
            "read_file": self._read_file,
            "write_file": self._write_file,
            "file_exists": self._file_exists,
            "run_python": self._run_python,
        }

    def run(self) -> None:
        """The whole session.

        Raises:
            Stopped: ``stop`` was set.
        """
        for name, text in FILES.items():
            path = self._workspace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self._take_turn("planner", PROMPT, self._planner)

    # -- the two minds, scripted: they yield calls, are sent the results, and return an answer --------------

    def _planner(self) -> Generator[Call, str | None, str]:
        self._read_settings()
        yield Call("list_files", {"path": "."})
        for day in ("monday", "tuesday", "friday"):  # there is no friday.md: a tool that fails
            yield Call("read_file", {"path": f"notes/{day}.md"})
        words = yield Call("run_python", {"code": COUNT_WORDS, "timeout": 60.0})
        self._audit.emit(WordsCounted(agent_id=self._agent, turn_id=self._turn, words=int(words or 0)))
        yield Call("http_get", {"url": "https://example.org/style-guide"})
        yield Call(
            "write_file", {"path": "report.md", "text": f"The notes have {(words or '?').strip()} words.\n"}
        )
        for _ in range(BLOCK_AT):  # waits for what nobody will write: a loop
            yield Call("file_exists", {"path": "review.md"})
        self._author_skill()
        review = self._hand_off("reviewer", "Check report.md with the skill count-words.")
        return f"The report is written and reviewed: {review}"

    def _reviewer(self) -> Generator[Call, str | None, str]:
        began = time.monotonic()
        code = (self._workspace / "skills/count-words/skill.py").read_text(encoding="utf-8")
        counted = yield Call("run_python", {"code": code, "timeout": 5.0})
        self._audit.emit_skill_used(
            "count-words", "1", "success", _ms_since(began), agent_id=self._agent, turn_id=self._turn
        )
        report = yield Call("read_file", {"path": "report.md"})
        agrees = bool(counted and report and counted.strip() in report)
        self._audit.emit_skill_feedback(
            "count-words",
            "positive" if agrees else "negative",
            reason="the report says the same" if agrees else "the report says something else",
            source="agent",
            agent_id=self._agent,
            turn_id=self._turn,
        )
        return "the number is right." if agrees else "the number is wrong."

    def _read_settings(self) -> None:
        try:
            json.loads((self._workspace / "settings.json").read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:  # it is broken, and the agent goes on with its defaults
            self._audit.emit_error(
                type(error).__name__, str(error), "settings.json", agent_id=self._agent, turn_id=self._turn
            )

    def _author_skill(self) -> None:
        folder = self._workspace / "skills/count-words"
        folder.mkdir(parents=True)
        (folder / "skill.py").write_text(COUNT_WORDS, encoding="utf-8")
        used = sorted({call.partition(" ")[0] for call in self._calls})
        self._audit.emit_skill_authored(
            "count-words",
            "1",
            source_path="skills/count-words/skill.py",
            tool_count=self._calls.total(),
            unique_tools=used,
            agent_id=self._agent,
            turn_id=self._turn,
        )

    # -- turns ----------------------------------------------------------------------------------------------

    def _take_turn(
        self,
        agent: str,
        prompt: str,
        mind: Callable[[], Generator[Call, str | None, str]],
        parent: str | None = None,
    ) -> str:
        caller = (self._agent, self._turn, self._calls)
        self._agent, self._calls = agent, Counter()
        self._turn = self._audit.emit_turn_start(
            agent, prompt=prompt, parent_turn_id=parent, parent_agent_id=caller[0] if parent else None
        )
        try:
            answer = self._follow(mind())
            self._audit.emit_turn_end(agent, self._turn, answer, self._calls.total())
        finally:
            self._agent, self._turn, self._calls = caller
        return answer

    def _follow(self, plan: Generator[Call, str | None, str]) -> str:
        result: str | None = None
        began = time.monotonic()
        try:
            call = next(plan)
            self._audit.emit_model_call(
                "script",
                "scripted",
                "plan",
                duration_ms=_ms_since(began),
                finish_reason="tool_calls",
                agent_id=self._agent,
                turn_id=self._turn,
            )
            while True:
                result = self._call(call)
                call = plan.send(result)
        except StopIteration as end:
            answer: str = end.value
            return answer

    def _hand_off(self, to_agent: str, prompt: str) -> str:
        self._audit.emit_agent_switch(
            self._agent, to_agent, "a second pair of eyes", agent_id=self._agent, turn_id=self._turn
        )
        return self._take_turn(to_agent, prompt, self._reviewer, parent=self._turn)

    # -- one tool call, and what stands around it -----------------------------------------------------------

    def _call(self, call: Call) -> str | None:
        """The tool's result; None when it failed or was not run."""
        if self._stop.wait(self._pause):
            raise Stopped
        who: dict[str, Any] = {
            "agent_id": self._agent,
            "turn_id": self._turn,
            "tool_call_id": f"call-{os.urandom(4).hex()}",
        }
        self._audit.emit_tool_call_attempt(call.tool, _brief(call.arguments), **who)
        try:
            self._ask_policy(call, who)
            self._guard_against_loops(call, who)
            arguments = self._before_tool(call, who)
            began = time.monotonic()
            result = self._tools[call.tool](**arguments)
        except Refused:
            return None
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its failure, and the agent goes on
            self._audit.emit_tool_call_failure(call.tool, type(error).__name__, _reason(error), **who)
            return None
        self._audit.emit_tool_call_complete(call.tool, duration_ms=_ms_since(began), result=result, **who)
        return result

    def _ask_policy(self, call: Call, who: dict[str, Any]) -> None:
        action = POLICY.get(call.tool)
        if action is None:
            return
        self._audit.emit_tool_policy_decision(call.tool, action=action, source="demo policy", **who)
        if action == "deny":
            raise Refused
        if action == "ask":
            self._audit.emit_approval(
                call.tool,
                "approved",
                "demo",
                approver_type="system",
                reason="nobody is asked in a demo",
                **who,
            )

    def _guard_against_loops(self, call: Call, who: dict[str, Any]) -> None:
        key = f"{call.tool} {json.dumps(call.arguments, sort_keys=True)}"
        self._calls[key] += 1
        count = self._calls[key]
        if count >= BLOCK_AT:
            self._audit.emit_tool_loop_block(call.tool, "same call, same arguments", count, **who)
            raise Refused
        if count >= WARN_AT:
            self._audit.emit_tool_loop_warning(call.tool, "same call, same arguments", count=count, **who)

    def _before_tool(self, call: Call, who: dict[str, Any]) -> dict[str, Any]:
        """The hook and the sandbox of ``run_python``; the arguments as they are after the hook."""
        arguments = dict(call.arguments)
        if call.tool != "run_python":
            return arguments
        if arguments["timeout"] > TIMEOUT_MOST:
            arguments["timeout"] = TIMEOUT_MOST
            self._audit.emit_hook_mutation("cap_timeout", call.tool, field="timeout", **who)
        self._audit.emit_sandbox_decision(
            call.tool, "workspace", "code of an agent", backend_type="python -I", **who
        )
        return arguments

    # -- the tools ------------------------------------------------------------------------------------------

    def _list_files(self, path: str) -> str:
        root = self._workspace / path
        return "\n".join(sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()))

    def _read_file(self, path: str) -> str:
        return (self._workspace / path).read_text(encoding="utf-8")

    def _write_file(self, path: str, text: str) -> str:
        (self._workspace / path).write_text(text, encoding="utf-8")
        return f"{len(text)} characters written"

    def _file_exists(self, path: str) -> str:
        return str((self._workspace / path).exists()).lower()

    def _run_python(self, code: str, timeout: float) -> str:
        done = subprocess.run(  # noqa: S603 - this interpreter, isolated, with the code that stands above
            [sys.executable, "-I", "-c", code],
            cwd=self._workspace,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout.strip()


def _brief(arguments: dict[str, Any]) -> str:
    return json.dumps({key: _shortened(value) for key, value in arguments.items()}, ensure_ascii=False)


def _shortened(value: Any) -> Any:
    return textwrap.shorten(value, 60, placeholder=" ...") if isinstance(value, str) else value


def _reason(error: Exception) -> str:
    """Without the workspace's path, which tells nothing."""
    if isinstance(error, FileNotFoundError):
        return f"{error.strerror}: {Path(str(error.filename)).name}"
    return str(error)


def _ms_since(began: float) -> float:
    return (time.monotonic() - began) * 1000
