from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from auditwire.cli.live import BrokerWatch, nobody_reads

if TYPE_CHECKING:
    import pytest


def test_a_broker_that_goes_and_comes_is_said_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([None, None, "h:1: Connection refused", "h:1: timed out", None, None, "gone", None])
    watch = BrokerWatch(lambda: next(answers))
    for _ in range(8):
        watch.look()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "auditwire: the broker is away (h:1: Connection refused); waiting for it",
        "auditwire: the broker is back: reading goes on where it stopped",
        "auditwire: the broker is away (gone); waiting for it",
        "auditwire: the broker is back: reading goes on where it stopped",
    ]


def test_a_pipe_whose_reader_is_gone_is_noticed_without_a_write() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        assert not nobody_reads(stream)
        os.close(read)
        assert nobody_reads(stream)


def test_a_terminal_that_was_closed_is_noticed() -> None:
    main, other = os.openpty()
    with os.fdopen(other, "w") as stream:
        assert not nobody_reads(stream)
        os.close(main)
        assert nobody_reads(stream)


def test_a_file_and_what_is_no_file_have_readers() -> None:
    with Path(os.devnull).open("w", encoding="utf-8") as stream:
        assert not nobody_reads(stream)
    assert not nobody_reads(stream)  # closed
    assert not nobody_reads(io.StringIO())
