"""What those parts of the sender share that see to other streams and to the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.delivery.backlog import Hold
    from auditwire.delivery.feed import Feed
    from auditwire.delivery.router import Router
    from auditwire.journal.budget import Budget
    from auditwire.journal.control import Control

__all__ = ["Around"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """See the module.

    Attributes:
        own: The feed of the sender's own stream.
        feeds: All feeds, the own one first. The adopter adds and removes others.
        control: Writes the own stream's control records.
        router: Has what waits for topics and partitions.
        hold: Counts what is in memory.
        budget: Of the journal path; None for a journal in memory.
        fault: Counts and logs the exception that is being handled.
        last_error: Gives the last error of broker, client or sender.
        wall_us: Clock, microseconds since the epoch.
        monotonic: Clock, seconds.
    """

    own: Feed
    feeds: list[Feed]
    control: Control
    router: Router
    hold: Hold
    budget: Budget | None
    fault: Callable[[str], None]
    last_error: Callable[[], str]
    wall_us: Callable[[], int]
    monotonic: Callable[[], float]
