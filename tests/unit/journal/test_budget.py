"""The bound on a journal path, by a clock that the test moves."""

from __future__ import annotations

import errno
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.journal.budget import OVERDRAFT_FILE, REFRESH, RETRY, Budget
from auditwire.journal.layout import JournalPath
from support.simulated_disk import PAGE
from support.simulated_fs import SimulatedFileSystem

BASE = "/journal"


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Setting:
    """A path of ten pages at most, and what is done to it."""

    def __init__(self, capacity: int = 10 * PAGE) -> None:
        self.fs = SimulatedFileSystem()
        self.clock = Clock()
        self.budget = Budget(JournalPath(self.fs, BASE), capacity, self.clock)

    def make(self, name: str, size: int) -> None:
        file = self.fs.open(f"{BASE}/{name}", create=True)
        file.reserve(size)
        file.close()

    def count_walks(self) -> None:
        self.walks = 0

        def meanwhile(operation: str, path: str) -> None:
            self.walks += operation == "list" and path == BASE

        self.fs.meanwhile = meanwhile


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_there_is_room_up_to_the_last_byte(setting: Setting) -> None:
    setting.make("a", 6 * PAGE)
    assert setting.budget.used == 6 * PAGE
    assert setting.budget.room_for(4 * PAGE)
    assert not setting.budget.room_for(4 * PAGE + 1)


def test_sizes_count_in_whole_blocks(setting: Setting) -> None:
    setting.make("a", 1)
    assert setting.budget.used == PAGE
    setting.budget.allocated(PAGE + 1)
    assert setting.budget.used == 3 * PAGE
    setting.budget.freed(1)
    assert setting.budget.used == 2 * PAGE
    assert setting.budget.room_for(8 * PAGE - 1)


def test_what_this_process_makes_and_removes_counts_at_once(setting: Setting) -> None:
    setting.count_walks()
    assert setting.budget.room_for(10 * PAGE)
    setting.make("a", 10 * PAGE)
    setting.budget.allocated(10 * PAGE)
    assert not setting.budget.room_for(1)
    setting.budget.freed(10 * PAGE)
    assert setting.budget.room_for(10 * PAGE)
    assert setting.walks == 1


def test_what_was_told_is_not_counted_twice_after_the_next_walk(setting: Setting) -> None:
    assert setting.budget.used == 0
    setting.make("a", 3 * PAGE)
    setting.budget.allocated(3 * PAGE)
    setting.clock.now += REFRESH
    assert setting.budget.used == 3 * PAGE


def test_the_files_are_measured_again_after_a_while_and_not_before(setting: Setting) -> None:
    setting.count_walks()
    assert setting.budget.room_for(PAGE)
    setting.make("of-another-process", 10 * PAGE)
    setting.clock.now += REFRESH / 2
    assert setting.budget.room_for(PAGE)
    assert setting.walks == 1
    setting.clock.now += REFRESH / 2
    assert not setting.budget.room_for(PAGE)
    assert setting.walks == 2


def test_while_there_is_no_room_they_are_measured_more_often_but_not_at_each_call(setting: Setting) -> None:
    setting.make("of-another-process", 10 * PAGE)
    setting.count_walks()
    for _ in range(100):
        assert not setting.budget.room_for(PAGE)
    assert setting.walks == 1
    setting.fs.unlink(f"{BASE}/of-another-process")
    setting.clock.now += RETRY * 1.01
    assert setting.budget.room_for(PAGE)
    assert setting.walks == 2


def test_waiting_for_room_does_not_put_the_next_measuring_off(setting: Setting) -> None:
    setting.make("of-another-process", 10 * PAGE)
    assert not setting.budget.room_for(PAGE)
    setting.fs.unlink(f"{BASE}/of-another-process")
    asked = 0
    while not setting.budget.room_for(PAGE):  # asks ten times in a retry's time
        asked += 1
        setting.clock.now += RETRY / 10
        assert asked < 12


def test_a_path_that_cannot_be_measured_keeps_what_was_known(setting: Setting) -> None:
    setting.make("a", 4 * PAGE)
    assert setting.budget.used == 4 * PAGE
    setting.budget.allocated(PAGE)
    setting.fs.fail("list", errno.EIO, times=None)
    setting.clock.now += REFRESH
    assert setting.budget.used == 5 * PAGE
    assert not setting.budget.room_for(6 * PAGE)
    setting.fs.heal()
    setting.clock.now += REFRESH
    assert setting.budget.used == 4 * PAGE


def test_a_path_that_is_gone_takes_nothing(setting: Setting) -> None:
    setting.fs.rmdir(BASE)
    assert setting.budget.used == 0


def test_small_files_may_exceed_the_bound_for_a_moment() -> None:
    setting = Setting(8 * OVERDRAFT_FILE)
    assert setting.budget.used == 0
    setting.budget.allocated(8 * OVERDRAFT_FILE)
    assert not setting.budget.room_for(PAGE)
    with setting.budget.overdrawn():
        assert not setting.budget.room_for(OVERDRAFT_FILE + 1)
        assert setting.budget.room_for(OVERDRAFT_FILE)
        setting.budget.allocated(OVERDRAFT_FILE)
        assert setting.budget.room_for(OVERDRAFT_FILE)
        setting.budget.allocated(OVERDRAFT_FILE)
        assert not setting.budget.room_for(PAGE)
    assert not setting.budget.room_for(PAGE)


def test_threads_lose_no_change() -> None:
    setting = Setting(1 << 40)
    assert setting.budget.used == 0

    def work(seed: int) -> None:
        rng = random.Random(seed)
        sizes = [rng.randint(1, 100_000) for _ in range(500)]
        for size in sizes:
            setting.budget.allocated(size)
        for size in sizes:
            setting.budget.freed(size)
        setting.budget.allocated(PAGE)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert setting.budget.used == 4 * PAGE


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 * PAGE), st.floats(0, 2 * REFRESH))))
def test_alone_on_its_path_a_process_never_exceeds_the_bound(steps: list[tuple[bool, int, float]]) -> None:
    setting = Setting()
    for number, (make, size, seconds) in enumerate(steps):
        setting.clock.now += seconds
        if make and setting.budget.room_for(size):
            setting.make(str(number), size)
            setting.budget.allocated(size)
        elif not make:
            for name in setting.fs.list(BASE)[:1]:
                freed = setting.fs.size(f"{BASE}/{name}")
                setting.fs.unlink(f"{BASE}/{name}")
                setting.budget.freed(freed)
        files = setting.fs.files(BASE).values()
        assert setting.budget.used == sum(-(-len(data) // PAGE) * PAGE for data in files) <= 10 * PAGE
