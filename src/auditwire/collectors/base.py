"""What a collector is, and what collectors share.

Any object with ``emit`` and ``flush`` is a collector. ``flush`` may take a ``timeout`` in seconds, and there
may be a ``close``; callers look (:func:`flush_collector`, :func:`close_collector`) and never demand them.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from auditwire.events import AuditEvent

__all__ = ["AuditCollector", "Managed", "close_collector", "flush_collector"]

logger = logging.getLogger("auditwire")


@runtime_checkable
class AuditCollector(Protocol):
    """Where events go. Both methods may be called from any thread."""

    def emit(self, event: AuditEvent) -> None:
        """Take one event.

        Raises:
            AuditwireError: The event was refused; the message says why.
        """

    def flush(self) -> None:
        """Return when everything taken before the call is where it belongs.

        Raises:
            AuditwireError: That could not be reached.
        """


class Managed:
    """``with`` and ``async with`` for whatever has ``close``: leaving the block closes.

    When the block itself raised, an error of ``close`` is logged and the block's own error goes on: it is
    what the program has to see.
    """

    __slots__ = ("__weakref__",)

    def close(self) -> None:
        """Nothing to release."""

    async def aclose(self) -> None:
        """``close`` in a worker thread, so that the event loop goes on."""
        import asyncio  # noqa: PLC0415 - keeps `import auditwire` cheap; an async caller has it loaded

        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception:
            if exc is None:
                raise
            logger.exception("closing %s failed while another error was on its way", type(self).__name__)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        except Exception:
            if exc is None:
                raise
            logger.exception("closing %s failed while another error was on its way", type(self).__name__)


def flush_collector(collector: Any, timeout: float | None = None) -> None:
    """Flush, handing on the timeout (seconds) when the collector's ``flush`` takes one.

    None leaves the collector its own default.

    Raises:
        AuditwireError: As the collector's ``flush``.
    """
    if timeout is None or not _takes_timeout(collector.flush):
        collector.flush()
    else:
        collector.flush(timeout=timeout)


def close_collector(collector: Any) -> None:
    """Close the collector if it can be closed.

    Raises:
        AuditwireError: As the collector's ``close``.
    """
    close = getattr(collector, "close", None)
    if callable(close):
        close()


def _takes_timeout(flush: Any) -> bool:
    try:
        parameters = inspect.signature(flush).parameters
    except (TypeError, ValueError):  # a callable without a readable signature, such as some C functions
        return False
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return any(
        p.kind is inspect.Parameter.VAR_KEYWORD or (p.name == "timeout" and p.kind in keywords)
        for p in parameters.values()
    )
