from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from auditwire import forksafe


class Recorder:
    def __init__(self) -> None:
        self.forks = 0

    def after_fork(self) -> None:
        self.forks += 1


def test_registered_objects_are_told_in_the_child() -> None:
    recorder = Recorder()
    forksafe.register(recorder)
    forksafe._after_fork()
    assert recorder.forks == 1


def test_registering_keeps_nothing_alive() -> None:
    recorder = Recorder()
    forksafe.register(recorder)
    gone = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert gone() is None
    forksafe._after_fork()


def test_a_lock_that_is_free_stays_the_same() -> None:
    lock = threading.RLock()
    assert forksafe.usable_lock(lock) is lock


def test_a_lock_that_the_forking_thread_holds_stays_held() -> None:
    lock = threading.RLock()
    with lock:
        assert forksafe.usable_lock(lock) is lock
        assert not is_free_for_others(lock)
    assert is_free_for_others(lock)


def test_a_lock_that_another_thread_holds_is_replaced() -> None:
    lock = threading.RLock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    fresh = forksafe.usable_lock(lock)
    done.set()
    thread.join()
    assert fresh is not lock
    assert fresh.acquire(blocking=False)


def is_free_for_others(lock: threading.RLock) -> bool:
    taken = []
    thread = threading.Thread(target=lambda: taken.append(lock.acquire(blocking=False)))
    thread.start()
    thread.join()
    return taken == [True]


FORKING = """
import os, threading
from auditwire import forksafe

class Thing:
    def __init__(self):
        self.lock = threading.RLock()
        forksafe.register(self)
    def after_fork(self):
        self.lock = forksafe.usable_lock(self.lock)

thing, held, done = Thing(), threading.Event(), threading.Event()
def hold():
    with thing.lock:
        held.set()
        done.wait(60)
thread = threading.Thread(target=hold)
thread.start()
held.wait(60)
pid = os.fork()
if pid == 0:
    os._exit(0 if thing.lock.acquire(timeout=30) else 1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
done.set()
thread.join()
raise SystemExit(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_real_child_can_take_a_lock_that_a_thread_of_its_parent_held() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
