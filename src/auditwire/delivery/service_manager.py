"""What systemd is told of a service: that it is ready, that it works, that it ends.

The protocol of ``sd_notify(3)``: a datagram of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET``
names. https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ServiceManager"]


class ServiceManager:
    """Tells what happens; nothing where no service manager asked. Never raises: no data is at stake.

    Args:
        environ: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` of it are read.

    Attributes:
        watchdog_seconds: How often ``alive`` has to be called at least; None for never.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of Linux' abstract names; others (vsock:) are for virtual machines
        self._address = f"\0{name[1:]}" if name.startswith("@") else name if name.startswith("/") else None
        self.watchdog_seconds: float | None = None
        interval = environ.get("WATCHDOG_USEC", "")
        pid = environ.get("WATCHDOG_PID", "") or str(os.getpid())
        if interval.isdecimal() and int(interval) and pid == str(os.getpid()) and self._address:
            # half of what kills, as sd_watchdog_enabled(3) advises
            self.watchdog_seconds = int(interval) / 2e6

    def ready(self, status: str) -> None:
        """The service works, and what it does."""
        self._tell(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """What it does now."""
        self._tell(f"STATUS={_line(status)}")

    def alive(self) -> None:
        """It makes progress."""
        self._tell("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """It ends, and what it still does."""
        self._tell(f"STOPPING=1\nSTATUS={_line(status)}")

    def _tell(self, text: str) -> None:
        if self._address is None:
            return
        with (
            contextlib.suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.settimeout(1.0)
            sender.sendto(text.encode("utf-8", "replace"), self._address)


def _line(text: str) -> str:
    return " ".join(text.split())
