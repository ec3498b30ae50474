"""Makes `rig` importable (pytest puts this folder on the path) and gives all tests its fixtures."""

from __future__ import annotations

import os
import resource
import signal

from hypothesis import HealthCheck, settings

# No test is timed: machines are shared. In CI the same examples each time; elsewhere others at each run.
settings.register_profile(
    "auditwire", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("auditwire")

pytest_plugins = ["rig.plugin"]


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, and children inherit that: the tests that
    # press Ctrl-C in a command would press in vain.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Shells often allow 1,024 descriptors. A simulated file system has one for each of its files.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(65_536, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
