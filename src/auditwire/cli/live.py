"""What a command without an end looks at between two records: is the broker there, does anybody read?"""

from __future__ import annotations

import select
from typing import IO, TYPE_CHECKING

from auditwire.cli.output import remark

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BrokerWatch", "nobody_reads"]


class BrokerWatch:
    """Says once that the broker is away, and once that it is back.

    Args:
        ask: What the client said last while no broker can be reached, else None.
        say: Takes a line and its style; stderr by default.
    """

    def __init__(self, ask: Callable[[], str | None], say: Callable[[str, str], None] = remark) -> None:
        self._ask = ask
        self._say = say
        self._away = False

    def look(self) -> None:
        """Ask once."""
        why = self._ask()
        if (why is not None) == self._away:
            return
        self._away = not self._away
        if why is None:
            self._say("the broker is back: reading goes on where it stopped", "green")
        else:
            self._say(f"the broker is away ({why}); waiting for it", "yellow")


def nobody_reads(stream: IO[str]) -> bool:
    """Whether the stream is a pipe, a socket or a terminal whose other end was closed.

    A write would tell by an error; one who has nothing to write would go on for ever, as ``tail | head -1``
    does on a quiet trail.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # captured by a test, or closed: nothing to ask
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))
