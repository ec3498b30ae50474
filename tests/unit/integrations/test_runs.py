"""The table of open runs that the adapters share, and handlers that never raise."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.integrations.runs import OpenRuns, count_of, first_text, guarded
from auditwire.refusals import RefusalLog


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_the_table_behaves_like_a_dictionary_that_forgets_its_oldest(
    limit: int, steps: list[tuple[bool, int]]
) -> None:
    dropped: list[int] = []
    runs: OpenRuns[int] = OpenRuns(limit, dropped.append)
    model: dict[int, int] = {}
    forgotten: list[int] = []
    for number, (begins, key) in enumerate(steps):
        if begins:
            runs.add(key, number)
            model[key] = number
            if len(model) > limit:
                forgotten.append(model.pop(next(iter(model))))
        else:
            assert runs.pop(key) == model.pop(key, None)
        assert runs.get(key) == model.get(key)
        assert len(runs) == len(model) <= limit
    assert dropped == forgotten
    assert runs.dropped == len(forgotten)


def test_what_is_called_with_a_dropped_run_may_use_the_table() -> None:
    runs: OpenRuns[str] = OpenRuns(1, lambda run: seen.append((run, runs.pop("b"))))
    seen: list[tuple[str, str | None]] = []
    runs.add("a", "first")
    runs.add("b", "second")
    assert seen == [("first", "second")]


def test_a_lock_that_another_thread_held_at_the_fork_is_a_new_one_in_the_child() -> None:
    runs: OpenRuns[int] = OpenRuns(1, lambda _: None)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with runs._lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    runs.after_fork()
    runs.add(1, 1)
    done.set()
    thread.join(30)
    assert runs.get(1) == 1


class Handlers:
    def __init__(self) -> None:
        self._failures = RefusalLog("callbacks")

    @guarded
    def breaks(self, error: BaseException) -> None:
        """Break."""
        raise error


def test_a_guarded_handler_counts_what_it_raises_and_keeps_its_name() -> None:
    handlers = Handlers()
    handlers.breaks(ValueError("x"))
    handlers.breaks(error=KeyError("y"))
    assert handlers._failures.total == 2
    assert (Handlers.breaks.__name__, Handlers.breaks.__doc__) == ("breaks", "Break.")


def test_a_guarded_handler_lets_an_interrupt_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        Handlers().breaks(KeyboardInterrupt())


def test_the_first_text_is_the_first_that_says_something() -> None:
    assert first_text(None, "", 3, "yes", "no") == "yes"
    assert first_text() == ""


@pytest.mark.parametrize(
    ("value", "count"), [(3, 3), (0, 0), (-1, 0), (None, 0), (True, 0), ("7", 0), (2.5, 0)]
)
def test_tokens_are_whole_numbers_or_none(value: object, count: int) -> None:
    assert count_of(value) == count


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("langchain", "langchain_core", "langchain"), ("openai_agents", "agents", "openai-agents")],
)
def test_an_adapter_without_its_framework_says_what_to_install(module: str, package: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from auditwire import MissingExtraError
try:
    import auditwire.integrations.{module}
except MissingExtraError as error:
    print(error)
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"pip install 'auditwire[{extra}]'" in output.stdout
