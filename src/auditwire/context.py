"""Who is at work: session, principal, agent, turn and tool call of the code that runs, in a context variable.

In come ``bind``, ``turn`` and ``tool_call``; out comes, for every emit below them, what the call did not say
itself. A context variable belongs to a task, and to a thread that is started through
``contextvars.copy_context()``; nothing leaks from one request to the next. Plain ``emit_*`` methods read it
and never set it.

Precedence, the first that is given: the argument of the call; a ``for_session`` view's session; the
context; the emitter's own identity.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Binding", "Scope", "current_scope"]


class Scope(NamedTuple):
    """What the code that runs is part of. None where nothing was said."""

    session_id: str | None = None
    agent_id: str | None = None
    turn_id: str | None = None
    tool_call_id: str | None = None
    principal_id: str | None = None
    principal_type: str | None = None
    tenant_id: str | None = None
    turn: object = None
    """The turn itself, which counts the calls in it; None for turns that plain ``emit_turn_start`` began."""

    def with_values(self, values: dict[str, str | None]) -> Scope:
        """This scope with those of the values that are not None."""
        given = {name: value for name, value in values.items() if value is not None}
        return self._replace(**given) if given else self


STAMPED = Scope._fields[:-1]
"""Which attributes of an event a scope fills in."""

NOWHERE = Scope()
"""Outside of everything."""

current: ContextVar[Scope] = ContextVar("auditwire", default=NOWHERE)


def current_scope() -> Scope:
    """What the code that runs is part of."""
    return current.get()


def enter(scope: Scope) -> Token[Scope]:
    """Make this the current scope; give the token to :func:`leave`."""
    return current.set(scope)


def leave(token: Token[Scope]) -> None:
    """Go back to the scope before.

    In another context than the one that was entered (a generator closed by another task, or by the garbage
    collector) there is nothing to go back from.
    """
    try:  # noqa: SIM105 - a suppress takes longer than all the rest of a block's end
        current.reset(token)
    except ValueError:
        pass


class Binding:
    """What ``bind`` returns: a context manager, sync and async, that may be entered again and again."""

    __slots__ = ("_tokens", "_values")

    def __init__(self, values: dict[str, str | None]) -> None:
        self._values = values
        self._tokens: list[Token[Scope]] = []

    def __enter__(self) -> Self:
        self._tokens.append(enter(current_scope().with_values(self._values)))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave(self._tokens.pop())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)
