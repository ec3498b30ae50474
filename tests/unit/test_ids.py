from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire import ids
from auditwire.ids import turn_id, uuid7

LAST_MS = 2**48 - 1


def milliseconds(text: str) -> int:
    return uuid.UUID(text).int >> 80


def test_a_uuid7_is_lower_case_text_of_version_7_and_the_rfc_variant() -> None:
    text = uuid7()
    assert str(uuid.UUID(text)) == text
    assert uuid.UUID(text).version == 7
    assert uuid.UUID(text).variant == uuid.RFC_4122


@given(ms=st.integers(0, LAST_MS), rest=st.integers(0, 999_999))
def test_a_uuid7_begins_with_the_given_time_in_milliseconds(ms: int, rest: int) -> None:
    text = uuid7(ms * 1_000_000 + rest)
    assert milliseconds(text) == ms
    assert uuid.UUID(text).version == 7
    assert str(uuid.UUID(text)) == text


@given(time_ns=st.integers(-(2**80), 2**80))
def test_no_time_makes_a_malformed_uuid7(time_ns: int) -> None:
    text = uuid7(time_ns)
    assert str(uuid.UUID(text)) == text
    assert uuid.UUID(text).version == 7


def test_the_default_time_is_now() -> None:
    before = time.time_ns() // 1_000_000
    ms = milliseconds(uuid7())
    assert before <= ms <= time.time_ns() // 1_000_000


def test_ids_of_one_millisecond_sort_in_the_order_they_were_made() -> None:
    made = [uuid7(1_700_000_000_000_000_000) for _ in range(1_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_of_later_milliseconds_sort_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    # also where the counter falls back to zero in between
    monkeypatch.setattr(ids._state, "next", itertools.count(2**28 - 50).__next__)
    made = [uuid7(ms * 1_000_000) for ms in range(100)]
    assert made == sorted(made)


def test_the_whole_counter_shows_in_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for bit in range(28):
        monkeypatch.setattr(ids._state, "next", itertools.count(0).__next__)
        zero = uuid7(0)
        monkeypatch.setattr(ids._state, "next", itertools.count(1 << bit).__next__)
        assert uuid7(0) != zero


def test_threads_never_make_the_same_id() -> None:
    made: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(mine: list[str]) -> None:
        start.wait()
        mine.extend(uuid7(0) for _ in range(10_000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(itertools.chain.from_iterable(made))) == 80_000


FORKING = """
import json, os, sys
from auditwire.ids import uuid7
uuid7()
pipes = []
for _ in range(3):
    read, write = os.pipe()
    if os.fork() == 0:
        with os.fdopen(write, "w") as out:
            json.dump([uuid7(0) for _ in range(500)], out)
        os._exit(0)
    os.close(write)
    pipes.append(read)
made = [uuid7(0) for _ in range(500)]
for read in pipes:
    with os.fdopen(read) as out:
        made += json.load(out)
json.dump(made, sys.stdout)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_children_never_repeat_the_ids_of_their_parent_or_siblings() -> None:
    run = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    made = json.loads(run.stdout)
    assert len(made) == 2_000
    assert len(set(made)) == 2_000
    assert len({text[-11:] for text in made}) == 4, "each process has random bits of its own"


def test_a_child_starts_with_new_random_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_state", ids._State())
    before = ids._state
    ids._after_fork()
    assert ids._state is not before
    assert ids._state.node != before.node
    assert next(ids._state.turns) != next(before.turns)


def test_no_id_asks_the_system_for_random_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such call lets go of the interpreter, and wakes whatever thread waits for it."""
    asked: list[int] = []
    monkeypatch.setattr(os, "urandom", asked.append)
    assert turn_id() != turn_id()
    assert uuid7() != uuid7()
    assert asked == []


def test_a_turn_id_is_12_lower_case_hex_digits() -> None:
    made = {turn_id() for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(re.fullmatch(r"[0-9a-f]{12}", text) for text in made)
