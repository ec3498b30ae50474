"""Two hundred processes killed at random moments: what emit returned for is on the broker afterwards.

A nursery imports the library once and forks one emitter after the other, sometimes two at a time, on the same
journal path. Each is killed with SIGKILL after a random time: while it opens its stream, adopts what others
left, emits, rotates its segments, or has a child that goes on. The broker is frozen now and then. One last
collector delivers what is left.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest
from durable_support import Site, assert_all_delivered

if TYPE_CHECKING:
    from pathlib import Path

    from rig.broker import Broker

KILLS = 200

NURSERY = """
import random

seed, kills = map(int, sys.argv[5:7])
rng = random.Random(seed)
end = time.monotonic() + 300  # whatever becomes of the test, nobody lives for ever
reports, report = os.pipe()
os.set_blocking(reports, False)

def emitter(number):
    pick = random.Random(seed * 1000 + number)
    large = pick.random() < 0.2
    collector = make(sync=pick.choice(["interval", "always", "never"]))
    count = forked = 0
    fork_at = pick.randrange(200) if pick.random() < 0.3 else -1
    while time.monotonic() < end:
        for _ in range(1 if large else 10):
            event = TurnStartEvent(
                agent_id=str(number), turn_id=str(count), session_id=f"s-{count % 7}",
                prompt_preview="x" * 20_000 if large else "",
            )
            collector.emit(event)
            os.write(accepted, event.event_id.encode() + b"\\n")
            count += 1
            if count == 1:
                os.write(report, b"e%d " % os.getpid())
        if count >= fork_at >= 0 and not forked:
            forked = 1
            if os.fork() == 0:
                forked = 2
                os.write(report, b"c%d " % os.getpid())
        if forked == 2 and count > fork_at + 300:
            time.sleep(end - time.monotonic())  # it emits no more, and lives on
        time.sleep(0.002)
    os._exit(1)

living = {}    # emitter -> when it is killed; or None: a while after its first event
orphaned = {}  # child of an emitter -> number of kills after which it is killed too
started = killed = 0
while killed < kills:
    while len(living) < (2 if rng.random() < 0.3 else 1) and started < kills:
        pid = os.fork()
        if pid == 0:
            emitter(started)
        living[pid] = time.monotonic() + rng.uniform(0, 0.1) if rng.random() < 0.25 else None
        started += 1
    now = time.monotonic()
    try:
        said = os.read(reports, 4096).decode().split()
    except BlockingIOError:
        said = []
    for text in said:
        pid = int(text[1:])
        if text[0] == "c":
            orphaned[pid] = killed + rng.randrange(1, 12)
        elif pid in living and living[pid] is None:
            living[pid] = now + rng.uniform(0, 0.25)
    for pid, at in list(living.items()):
        if at is not None and now >= at:
            os.kill(pid, signal.SIGKILL)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
            del living[pid]
            killed += 1
            print(killed, flush=True)
    for pid, after in list(orphaned.items()):
        if killed >= after or killed >= kills:
            os.kill(pid, signal.SIGKILL)
            del orphaned[pid]
    time.sleep(0.001)
print("children", flush=True)
"""


@pytest.mark.timeout(400)
def test_what_two_hundred_killed_processes_accepted_is_on_the_broker(
    faulty_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("AUDITWIRE_TEST_SEED") or random.randrange(1 << 30))
    print(f"AUDITWIRE_TEST_SEED={seed}")  # noqa: T201 - shown when the test fails
    rng = random.Random(seed)
    site = Site(faulty_broker, prefix, tmp_path)
    freezes = [first + rng.randrange(20) for first in range(20, KILLS - 40, 40)]
    begin = time.monotonic()
    process = site.start(NURSERY, str(seed), str(KILLS))
    assert process.stdout is not None
    frozen = False
    killed = 0
    for line in process.stdout:
        if line == "children\n":
            break
        killed = int(line)
        if killed in freezes:
            faulty_broker.pause()
            frozen = True
        elif frozen and killed - 12 in freezes:
            faulty_broker.unpause()
            frozen = False
    if frozen:
        faulty_broker.unpause()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, killed) == (0, KILLS), errors
    assert "Traceback" not in errors, errors
    ended = time.monotonic()
    left = len(site.streams)
    site.recover(timeout=120)
    recovered = time.monotonic()
    trail = site.trail()
    print(  # noqa: T201
        f"{len(site.accepted)} accepted in {len(trail.reports)} streams, {left} of them left at the end; "
        f"{ended - begin:.1f} s, {recovered - ended:.1f} s; {trail.duplicates} duplicates"
    )
    # an emitter may be killed between the two lines, and its child too
    assert_all_delivered(site, trail, unsaid=2 * KILLS)
    assert len(trail.reports) > KILLS * 0.6
