"""Finds, among the messages that wait for their turn by time, those whose numbers are waited for.

Most records of a stream have rising timestamps, and so the order by time brings them in the order of their
numbers. One that was delivered hours late has not: all that follows it in its stream is held meanwhile. Once
that takes much of the memory, the messages which were fetched and are not due are looked through for it.

To find out a number costs about a microsecond a message, and so nothing is done before it is needed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from auditwire.errors import DecodingError
from auditwire.wire import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditwire.reading.record import ClientMessage, Place

__all__ = ["Lookahead"]

Number = tuple[str, int]
"""A stream and a number in it."""


class Lookahead:
    """The messages that wait, by their numbers, while these are wanted. For one thread.

    Args:
        event_types: The topics, each with the type that its name tells.

    Attributes:
        active: Whether messages are to be noted.
    """

    def __init__(self, event_types: Mapping[str, str | None]) -> None:
        self.active = False
        self._event_types = event_types
        self._messages: dict[Number, tuple[Place, ClientMessage]] = {}

    def begin(self, waiting: Iterable[tuple[Place, Iterable[ClientMessage]]]) -> None:
        """Note all that waits, of each partition."""
        self.active = True
        for place, messages in waiting:
            self.note(place, messages)

    def end(self) -> None:
        """Note nothing more, and forget what was noted."""
        self.active = False
        self._messages.clear()

    def note(self, place: Place, messages: Iterable[ClientMessage]) -> None:
        """Note messages of a partition that came to wait."""
        event_type = self._event_types[place[0]]
        for message in messages:
            with suppress(DecodingError):  # is refused in its turn
                head = envelope(message.value(), event_type=event_type)
                self._messages.setdefault((head.stream_id, head.sequence), (place, message))

    def find(self, awaited: Iterable[Number]) -> dict[Place, list[ClientMessage]]:
        """The messages with these numbers and with those that follow them, by partition; each only once."""
        found: dict[Place, list[ClientMessage]] = {}
        for stream_id, sequence in awaited:
            number = sequence
            while (known := self._messages.pop((stream_id, number), None)) is not None:
                place, message = known
                found.setdefault(place, []).append(message)
                number += 1
        return found

    def forget(self, numbers: Iterable[Number]) -> None:
        """These came in their turn."""
        for number in numbers:
            self._messages.pop(number, None)
