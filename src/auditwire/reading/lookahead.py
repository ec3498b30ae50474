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

    from auditwire.reading.record import ClientMessage

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
        self._messages: dict[Number, ClientMessage] = {}
        self._taken: set[tuple[str | None, int | None, int | None]] = set()

    def begin(self, messages: Iterable[ClientMessage]) -> None:
        """Note all that waits."""
        self.active = True
        self.note(messages)

    def end(self) -> None:
        """Note nothing more, and forget what was noted, but not what was taken."""
        self.active = False
        self._messages.clear()

    def note(self, messages: Iterable[ClientMessage]) -> None:
        """Note messages that came to wait, except those that were taken."""
        for message in messages:
            if not self.was_taken(message):
                with suppress(DecodingError):  # is refused in its turn
                    head = envelope(message.value(), event_type=self._event_types[message.topic()])
                    self._messages.setdefault((head.stream_id, head.sequence), message)

    def take(self, awaited: Iterable[Number]) -> list[ClientMessage]:
        """The messages with these numbers, and with those that follow them; each is taken once."""
        found: list[ClientMessage] = []
        for stream_id, sequence in awaited:
            number = sequence
            while (message := self._messages.pop((stream_id, number), None)) is not None:
                self._taken.add(_place(message))
                found.append(message)
                number += 1
        return found

    def forget(self, numbers: Iterable[Number]) -> None:
        """These came in their turn."""
        for number in numbers:
            self._messages.pop(number, None)

    @property
    def taken(self) -> int:
        """Messages that were taken and whose turn did not come yet."""
        return len(self._taken)

    def was_taken(self, message: ClientMessage) -> bool:
        """Whether this one was taken, and its turn did not come yet."""
        return bool(self._taken) and _place(message) in self._taken

    def come(self, batch: list[ClientMessage], stamps: list[int]) -> tuple[list[ClientMessage], list[int]]:
        """Of messages whose turn has come, and their timestamps, those that were not taken before."""
        if not self._taken:
            return batch, stamps
        rest = [pair for pair in zip(batch, stamps, strict=True) if _place(pair[0]) not in self._taken]
        self._taken.difference_update(map(_place, batch))
        return [message for message, _ in rest], [stamp for _, stamp in rest]


def _place(message: ClientMessage) -> tuple[str | None, int | None, int | None]:
    return message.topic(), message.partition(), message.offset()
