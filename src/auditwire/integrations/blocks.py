"""Turns and tool calls around code of a framework, which must go on whatever becomes of the audit trail.

In comes a turn or tool call, out comes a block that ends it as the framework's code ended; what the trail
itself raises is counted, and logged at most once a minute.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.calls import ToolCall, Turn
    from auditwire.refusals import RefusalLog

__all__ = ["guarded_block"]

Block = TypeVar("Block", "Turn", "ToolCall")


@contextlib.contextmanager
def guarded_block(block: Block, failures: RefusalLog) -> Iterator[Block]:
    """``with block``, but an emitter that raises is counted in ``failures`` and does not reach the framework.

    What the code in the block raises goes on.
    """
    try:
        block.__enter__()
    except Exception as error:  # noqa: BLE001 - of whatever kind
        failures.add(block, error)
    try:
        yield block
    except BaseException as error:
        _end(block, error, failures)
        raise
    _end(block, None, failures)


def _end(block: Turn | ToolCall, error: BaseException | None, failures: RefusalLog) -> None:
    try:
        block.__exit__(None if error is None else type(error), error, None)
    except Exception as refused:  # noqa: BLE001 - as above
        failures.add(block, refused)
