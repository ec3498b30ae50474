"""What every emit does: fill in the identities, hand the event over, answer for a refusal.

In come finished events, out they go to the collector. The vocabulary of ``emit_*`` methods stands in
:mod:`auditwire.emitter`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

from auditwire.collectors.base import Managed, close_collector, flush_collector
from auditwire.collectors.memory import InMemoryCollector
from auditwire.context import NOWHERE, STAMPED, Binding, current
from auditwire.errors import ConfigurationError
from auditwire.refusals import RefusalLog
from auditwire.render import DigestKey, Renderer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Self

    from auditwire.collectors.base import AuditCollector
    from auditwire.context import Scope
    from auditwire.events import AuditEvent, EventLike

__all__ = ["EmitterBase", "metadata_dict", "string_list"]

_ON_ERROR = ("log", "raise")


class EmitterBase(Managed):
    """An emitter without its vocabulary; see :class:`auditwire.emitter.AuditEmitter`."""

    def __init__(
        self,
        collector: AuditCollector | None = None,
        session_id: str | None = None,
        *,
        agent_id: str | None = None,
        principal_id: str | None = None,
        principal_type: str | None = None,
        tenant_id: str | None = None,
        on_error: Literal["log", "raise"] = "log",
        preview_chars: int = 200,
        digests: Literal["sha256"] | DigestKey | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        if on_error not in _ON_ERROR:
            raise ConfigurationError("on_error", f'{on_error!r} is neither "log" nor "raise"')
        if type(preview_chars) is not int or preview_chars < 0:
            raise ConfigurationError(
                "preview_chars", f"{preview_chars!r} is no number of characters (0 or more)"
            )
        self._collector: AuditCollector = InMemoryCollector() if collector is None else collector
        self._identify(
            {
                "session_id": session_id,
                "agent_id": agent_id,
                "principal_id": principal_id,
                "principal_type": principal_type,
                "tenant_id": tenant_id,
            }
        )
        self._raises = on_error == "raise"
        self._is_view = False
        self._own_session = False
        self._fixed: Scope | None = None
        self._refusals = RefusalLog("audit events refused")
        self._unprintable = RefusalLog("values whose text could not be had")
        self._redaction_failures = RefusalLog("values whose text could not be redacted")
        self._renderer = Renderer(
            preview_chars,
            digests=digests,
            redact=redact,
            on_unprintable=self._unprintable.add,
            on_redaction_failure=self._redaction_failures.add,
        )

    @property
    def collector(self) -> AuditCollector:
        """Where the events go."""
        return self._collector

    @property
    def session_id(self) -> str | None:
        """The session that is filled in where an event names none."""
        return self._identities["session_id"]

    @property
    def refused(self) -> int:
        """How many events were refused through this emitter, its :meth:`for_session` views included."""
        return self._refusals.total

    @property
    def unprintable(self) -> int:
        """How many values could not be rendered and are shown as ``<unprintable TypeName>``."""
        return self._unprintable.total

    @property
    def redaction_failures(self) -> int:
        """How many texts ``redact`` failed on; they are shown as ``<redaction failed>``."""
        return self._redaction_failures.total

    def emit(self, event: AuditEvent | EventLike) -> None:
        """Hand an event of any class to the collector, with this emitter's identities where it has none.

        The identities are written into the event itself, and only over None. An event of a foreign class is
        left as it is where it has no such attribute or does not let it be set.

        Raises:
            AuditwireError: The collector refused the event and ``on_error`` is ``"raise"``.
        """
        try:
            scope = current.get() if self._fixed is None else self._fixed
            for name, value in self._stamps if scope is NOWHERE else self._stamps_in(scope):
                # the default is not None: an attribute that is not there is not made
                if getattr(event, name, value) is None:
                    setattr(event, name, value)
            if "opentelemetry.trace" in sys.modules and getattr(event, "trace_id", "") is None:
                _stamp_trace(event)
        except Exception:  # noqa: BLE001, S110 - a frozen or validating foreign event may refuse
            pass
        try:
            self._collector.emit(event)  # type: ignore[arg-type]  # collectors take foreign ones too
        except Exception as error:
            self._refusals.add(event, error)
            if self._raises:
                raise

    def _stamps_in(self, scope: Scope) -> Iterable[tuple[str, str]]:
        """Identities by precedence: a view's own session, the scope, the emitter."""
        said = {name: value for name, value in zip(STAMPED, scope[:-1], strict=True) if value is not None}
        if self._own_session:
            said.pop("session_id", None)
        values = {**self._identities, **said}
        return [(name, value) for name, value in values.items() if value is not None]

    def within(self, scope: Scope) -> Self:
        """A view whose events belong to this scope, whatever the context says. For turns and tool calls."""
        view = self._view()
        view._stamps = tuple(self._stamps_in(scope))  # noqa: SLF001 - of this class
        view._fixed = NOWHERE  # noqa: SLF001 - the stamps hold all that is to be filled in
        return view

    def _view(self) -> Self:
        """The same emitter, but closing it leaves the collector open. Cheaper than ``copy.copy``."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._is_view = True
        return view

    def agent_for(self, agent_id: str | None, scope: Scope) -> str | None:
        """The agent that an event in this scope gets when its call names this one."""
        return agent_id or scope.agent_id or self._identities["agent_id"]

    def bind(
        self,
        *,
        session_id: str | None = None,
        agent_id: str | None = None,
        turn_id: str | None = None,
        principal_id: str | None = None,
        principal_type: str | None = None,
        tenant_id: str | None = None,
    ) -> Binding:
        """``with audit.bind(session_id=...)``: fills in these for every emit in the block that does not say.

        It binds the context, not this emitter: other emitters in the block see it too, and other tasks and
        threads do not. What is None stays as it is outside.
        """
        return Binding(
            {
                "session_id": session_id,
                "agent_id": agent_id,
                "turn_id": turn_id,
                "principal_id": principal_id,
                "principal_type": principal_type,
                "tenant_id": tenant_id,
            }
        )

    def for_session(self, session_id: str | None) -> Self:
        """The same emitter for another session: same collector, identities and counters; costs about 1 us.

        Closing a view leaves the collector open: it belongs to the emitter that the view was made of.
        """
        view = self._view()
        view._identify({**self._identities, "session_id": session_id})  # noqa: SLF001 - of this class
        view._own_session = session_id is not None  # noqa: SLF001 - of this class
        return view

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything emitted before the call is where the collector puts it.

        Args:
            timeout: Seconds, for collectors whose ``flush`` takes one; None is the collector's own default.

        Raises:
            FlushTimeout: Not everything got there in time. Raised whatever ``on_error`` says.
            AuditwireError: As the collector's ``flush``.
        """
        flush_collector(self._collector, timeout)

    async def aflush(self, timeout: float | None = None) -> None:
        """``flush`` without stopping the event loop."""
        import asyncio  # noqa: PLC0415 - keeps `import auditwire` cheap; an async caller has it loaded

        await asyncio.to_thread(self.flush, timeout)

    def close(self) -> None:
        """Close the collector, if it can be closed. Closing a :meth:`for_session` view does nothing.

        Raises:
            AuditwireError: As the collector's ``close``. Raised whatever ``on_error`` says.
        """
        if self._is_view:
            return
        self._refusals.report_rest()
        self._unprintable.report_rest()
        self._redaction_failures.report_rest()
        close_collector(self._collector)

    def _identify(self, identities: dict[str, str | None]) -> None:
        self._identities = identities
        self._stamps = tuple((name, value) for name, value in identities.items() if value is not None)

    def _preview(self, value: Any, metadata: dict[str, Any]) -> tuple[str, int, str | None]:
        """The text to show, the full text's length and digest; ``metadata`` says if parts were left out."""
        return self._renderer.preview(value, metadata)


def _stamp_trace(event: Any) -> None:
    """The active span's ids in OpenTelemetry's text form. Who never imported it has no active span."""
    span = sys.modules["opentelemetry.trace"].get_current_span().get_span_context()
    if span.is_valid:
        event.trace_id, event.span_id = f"{span.trace_id:032x}", f"{span.span_id:016x}"


def metadata_dict(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A dictionary of the event's own; what is no mapping is kept under the key ``metadata``."""
    if metadata is None:
        return {}
    try:
        return dict(metadata)
    except Exception:  # noqa: BLE001 - a foreign mapping can raise anything, and the agent must go on
        return {"metadata": metadata}


def string_list(values: Iterable[str] | None) -> list[str]:
    """A list of the event's own; one text is one element, not its characters."""
    if values is None:
        return []
    if isinstance(values, str):
        return [values]
    try:
        return list(values)
    except Exception:  # noqa: BLE001 - as above
        return [str(values)]
