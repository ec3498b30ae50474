"""A session of a support desk, scripted, with all that a session can hold: to try ``auditwire show`` on.

::

    python examples/support_session.py [HOST:PORT]

Three agents in two processes answer a customer: the tools fail, are denied, wait for a person and run in a
circle, a sub-agent is handed the work, and one call never ends. Times and ids are fixed, so that it looks the
same on every run; nothing is called.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import trail
from auditwire import AuditEmitter, KafkaCollector
from auditwire import events as ev

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

SESSION = "support-4711"
BEGAN_US = 1_772_460_311_204_000  # 2026-03-02T14:05:11.204Z
WARN_AT, BLOCK_AT = 3, 4
MODEL = {"provider": "vllm", "model": "llama-3.3-70b"}


class RefundIssued(ev.AuditEvent):
    """An event of the shop's own: it goes to the topic ``custom``."""

    event_type = "refund_issued"

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "order": "4711", "amount_eur": 59.9, "method": "card"}


class Clock:
    """The script's time and the ids that follow from it."""

    def __init__(self) -> None:
        self.now_us = BEGAN_US
        self._count = 0

    def wait(self, ms: float) -> None:
        self.now_us += int(ms * 1_000)

    def event_id(self) -> str:
        """A UUIDv7 of the script's time."""
        self._count += 1
        ms = f"{self.now_us // 1_000:012x}"
        return f"{ms[:8]}-{ms[8:]}-7{self._count:03x}-8000-000000000000"


class Agent:
    """One agent: its events get its name, the turn that it is in, and the script's time."""

    def __init__(self, audit: AuditEmitter, clock: Clock, name: str) -> None:
        self._audit, self._clock, self._name = audit, clock, name
        self._calls = self._turns = 0
        self._began_us: dict[str, int] = {}
        self.turn_id = ""

    def emit(self, event: AuditEvent, ms: float = 4) -> None:
        """An event, some milliseconds after the one before."""
        self._clock.wait(ms)
        event.timestamp_us, event.event_id = self._clock.now_us, self._clock.event_id()
        event.agent_id, event.turn_id = self._name, self.turn_id
        self._audit.emit(event)

    def begin(self, prompt: str, parent: Agent | None = None) -> None:
        self._turns += 1
        self._calls = 0
        self.turn_id = f"{self._name}-{self._turns}"
        self.emit(
            ev.TurnStartEvent(
                prompt_preview=prompt,
                prompt_length=len(prompt),
                parent_turn_id=parent and parent.turn_id,
                parent_agent_id=parent and parent._name,  # noqa: SLF001 - of this class
            )
        )

    def end(self, answer: str) -> None:
        self.emit(
            ev.TurnEndEvent(
                content_preview=answer, content_length=len(answer), function_calls_count=self._calls
            )
        )

    def think(self, ms: float, tokens: tuple[int, int], finish: str = "tool_calls", **more: Any) -> None:
        self.emit(
            ev.ModelCallEvent(
                **MODEL,
                duration_ms=ms,
                input_tokens=tokens[0],
                output_tokens=tokens[1],
                finish_reason=finish,
                **more,
            ),
            ms,
        )

    def attempt(self, tool: str, **arguments: Any) -> dict[str, str]:
        """The beginning of a call; what its other events have in common."""
        self._calls += 1
        text = json.dumps(arguments, ensure_ascii=False)
        which = {"tool_name": tool, "tool_call_id": f"{self.turn_id}.{self._calls}"}
        self.emit(ev.ToolCallAttemptEvent(**which, arguments_preview=text, arguments_length=len(text)))
        self._began_us[which["tool_call_id"]] = self._clock.now_us
        return which

    def complete(self, which: dict[str, str], ms: float, result: str, status: str = "success") -> None:
        self._clock.wait(ms)
        took_us = self._clock.now_us - self._began_us[which["tool_call_id"]]
        self.emit(
            ev.ToolCallCompleteEvent(
                **which,
                status=status,
                duration_ms=took_us / 1_000,
                result_preview=result,
                result_length=len(result),
            ),
        )

    def fail(self, which: dict[str, str], ms: float, error: str, message: str) -> None:
        self.emit(ev.ToolCallFailureEvent(**which, error_type=error, error_message=message), ms)

    def call(self, tool: str, ms: float, result: str, **arguments: Any) -> None:
        """A call that nothing comes in the way of."""
        self.complete(self.attempt(tool, **arguments), ms, result)

    def hand_over(self, to: str, reason: str) -> None:
        self.emit(ev.AgentSwitchEvent(from_agent=self._name, to_agent=to, reason=reason))


def play(desk: AuditEmitter, payments_service: AuditEmitter) -> None:
    """The session: ``desk`` has the emitter of the agents that talk, the other one that of who may pay."""
    clock = Clock()
    concierge = Agent(desk, clock, "concierge")
    researcher = Agent(desk, clock, "researcher")
    payments = Agent(payments_service, clock, "payments")
    concierge.begin("My parcel for order 4711 is late, and I was charged twice. Please sort it out.")
    concierge.think(1_240, (1_812, 64))
    concierge.call(
        "lookup_order", 182, '{"order": "4711", "total_eur": 59.9, "shipped": "2026-02-20"}', order="4711"
    )
    _track_the_parcel(concierge)
    concierge.hand_over("researcher", "find out about the second charge")
    _research(researcher, concierge)
    concierge.hand_over("payments", "refund the second charge")
    _refund(payments, concierge)
    concierge.think(1_480, (3_377, 121), "stop")
    concierge.end(
        "I am sorry. The second charge of 59.90 EUR is refunded; it takes two or three days. The parcel is "
        "in Lyon and arrives on Wednesday."
    )
    clock.wait(11 * 60_000)
    _change_the_address(concierge)


def _track_the_parcel(concierge: Agent) -> None:
    which = concierge.attempt("track_parcel", parcel="LY-77120")
    concierge.fail(which, 5_000, "TimeoutError", "the carrier did not answer within 5 s")
    concierge.call(
        "track_parcel", 611, "Lyon, sorting centre since 2026-02-27; delivery on Wednesday", parcel="LY-77120"
    )
    concierge.emit(
        ev.SkillUsedEvent(skill_name="late-parcels", version="3", outcome="success", duration_ms=38.0), 38
    )


def _research(researcher: Agent, concierge: Agent) -> None:
    researcher.begin("Why was order 4711 charged twice?", concierge)
    researcher.think(890, (940, 112))
    charges, refunds = (
        researcher.attempt("search_ledger", query="order:4711 kind:charge"),
        researcher.attempt("search_ledger", query="order:4711 kind:refund"),
    )
    code = researcher.attempt("run_python", code="print(sum(c.amount for c in charges))", timeout=60)
    researcher.emit(ev.HookMutationEvent(hook_name="cap_timeout", mutated_field="timeout", **code))
    researcher.emit(
        ev.SandboxDecisionEvent(context="isolated", reason="code of a model", backend_type="gvisor", **code)
    )
    researcher.complete(refunds, 240, "[]")
    researcher.complete(
        charges,
        95,
        '[{"id": "ch_81", "eur": 59.9, "at": "02-19"}, {"id": "ch_82", "eur": 59.9, "at": "02-19"}]',
    )
    researcher.complete(code, 430, "119.8")
    researcher.think(1_010, (1_604, 88), "stop")
    researcher.end("Charge ch_82 is a double of ch_81: the payment page was submitted twice.")


def _refund(payments: Agent, concierge: Agent) -> None:
    payments.begin("Refund ch_82 of order 4711.", concierge)
    payments.think(720, (610, 41))
    which = payments.attempt("refund", charge="ch_82", eur=59.9)
    payments.emit(ev.ToolPolicyDecisionEvent(action="ask", policy_source="refunds.rego", **which))
    payments.emit(
        ev.ApprovalEvent(
            decision="approved", approver_id="m.okafor", reason="a clear double charge", **which
        ),
        41_300,
    )
    payments.complete(which, 1_920, '{"refund": "re_19", "state": "pending"}')
    payments.emit(RefundIssued())
    for count in range(1, BLOCK_AT + 1):  # waits for what takes days
        which = payments.attempt("refund_state", refund="re_19")
        if count == WARN_AT:
            payments.emit(
                ev.ToolLoopWarningEvent(pattern="same call, same arguments", call_count=count, **which)
            )
        if count == BLOCK_AT:
            payments.emit(
                ev.ToolLoopBlockEvent(pattern="same call, same arguments", call_count=count, **which)
            )
        else:
            payments.complete(which, 260, "pending")
    which = payments.attempt("credit", customer="dana", eur=200)
    payments.emit(
        ev.ToolPolicyDecisionEvent(
            action="deny", policy_source="refunds.rego: goodwill above 50 EUR", **which
        )
    )
    payments.complete(which, 0, "", "denied")
    payments.think(640, (1_190, 37), "stop")
    payments.end("Refunded: re_19, 59.90 EUR. A goodwill credit is not allowed.")


def _change_the_address(concierge: Agent) -> None:
    concierge.begin("Thank you! Please send my next orders to 12 rue du Lac, and mail me a receipt.")
    concierge.think(960, (3_702, 58), "error", status="error", error_type="RateLimitError")
    concierge.think(1_130, (3_702, 71))
    which = concierge.attempt("update_address", customer="dana", address="12 rue du Lac, Annecy")
    concierge.emit(
        ev.ApprovalEvent(decision="rejected", approver_id="dana", reason="wrong town: it is Lyon", **which),
        8_200,
    )
    concierge.emit(
        ev.ErrorEvent(
            error_type="AddressError", error_message="no such street in Annecy", error_context="geocoder"
        )
    )
    concierge.emit(
        ev.SkillFeedbackEvent(skill_name="late-parcels", rating="positive", reason="said thank you")
    )
    concierge.attempt("send_mail", to="dana@example.org", template="receipt")  # the answer never comes
    concierge.think(840, (3_911, 44), "stop")
    concierge.end("In which town is 12 rue du Lac? Your receipt is on its way.")


def emitters(bootstrap: str, **collector: Any) -> tuple[AuditEmitter, AuditEmitter]:
    """The emitters of the two processes, here in one."""
    who = {"principal_id": "dana@example.org", "principal_type": "user", "tenant_id": "acme-shop"}
    desk, payments = (
        AuditEmitter(KafkaCollector(bootstrap, service=name, **collector), SESSION, **who)
        for name in ("support-desk", "payments")
    )
    return desk, payments


def main() -> int:
    options = trail.options(__doc__).parse_args()
    with trail.broker(options.bootstrap) as bootstrap:
        desk, payments = emitters(bootstrap)
        with desk, payments:
            play(desk, payments)
        print(f"auditwire show {SESSION} -b {bootstrap} --html session.html")
        return 0 if trail.show(bootstrap, {SESSION}) else 1


if __name__ == "__main__":
    sys.exit(main())
