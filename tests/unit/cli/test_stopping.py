from __future__ import annotations

import os
import signal
import threading

import pytest

from auditwire.cli.stopping import Stopping


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_the_first_signal_is_a_wish_that_says_since_when() -> None:
    now = 100.0
    before = signal.getsignal(signal.SIGTERM)
    with Stopping(lambda: now) as stopping:
        assert (stopping.wanted(), stopping.seconds) == (False, 0.0)
        stopping.raise_signal()
        send(signal.SIGTERM)
        now = 103.0
        assert (stopping.wanted(), stopping.signal, stopping.seconds) == (True, signal.SIGTERM, 3.0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_ends_as_the_signal_would_have_ended_it() -> None:
    with Stopping() as stopping:
        send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stopping.raise_signal()
    with Stopping() as stopping:
        send(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        stopping.raise_signal()
    assert caught.value.code == 143


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (signal.SIGTERM, signal.SIGINT, KeyboardInterrupt),
        (signal.SIGINT, signal.SIGTERM, SystemExit),
    ],
)
def test_the_second_signal_ends_it_at_once(first: int, second: int, kind: type[BaseException]) -> None:
    with pytest.raises(kind), Stopping():
        send(first, second)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stopping() as stopping:
            send(signal.SIGINT)
            assert not stopping.wanted()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_signals_alone() -> None:
    handlers = []

    def inside() -> None:
        with Stopping() as stopping:
            handlers.append((signal.getsignal(signal.SIGINT), stopping.wanted()))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert handlers == [(signal.getsignal(signal.SIGINT), False)]
