"""Makes `rig` importable (pytest puts this folder on the path) and gives all tests its fixtures."""

from __future__ import annotations

import signal

pytest_plugins = ["rig.plugin"]


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, and children inherit that: the tests that
    # press Ctrl-C in a command would press in vain.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
