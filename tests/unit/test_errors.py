from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from auditwire import errors
from auditwire.errors import (
    AuditwireError,
    BrokerError,
    CollectorClosed,
    CollectorGroupError,
    ConfigurationError,
    DecodingError,
    EncodingError,
    FlushTimeout,
    JournalFull,
    MissingExtraError,
    SchemaError,
    SinkError,
)

EXAMPLES: list[AuditwireError] = [
    AuditwireError("something"),
    ConfigurationError("acks", "must be all"),
    MissingExtraError("the CLI", "cli"),
    SchemaError("no file"),
    EncodingError("no bytes"),
    DecodingError("foreign", "starts with 0x7b"),
    JournalFull("64 MiB"),
    CollectorClosed("closed"),
    FlushTimeout("3 pending", pending=3, durable=True, parked={"audit.error": "not authorised"}),
    SinkError("disk full"),
    CollectorGroupError([SinkError("disk full"), ValueError("bug")]),
    BrokerError("away"),
]


def test_every_public_error_has_an_example_here() -> None:
    assert {type(error).__name__ for error in EXAMPLES} == set(errors.__all__)


def test_the_tree_in_the_docstring_names_every_error_and_says_which_are_retriable() -> None:
    drawn = re.findall(r"[├└]── (\w+)(.*)", errors.__doc__ or "")
    assert {name for name, _ in drawn} == set(errors.__all__) - {"AuditwireError"}
    for name, rest in drawn:
        assert getattr(errors, name).retriable == rest.endswith("retriable"), name


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(ConfigurationError, ValueError), (MissingExtraError, ImportError), (FlushTimeout, TimeoutError)],
)
def test_errors_with_a_builtin_relative_can_be_caught_as_it(
    error: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, builtin)
    assert issubclass(error, AuditwireError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copied_or_pickled_error_says_the_same(error: AuditwireError, duplicate: object) -> None:
    assert callable(duplicate)
    again = duplicate(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.retriable == error.retriable
    shown = {key: repr(value) for key, value in vars(error).items()}
    assert {key: repr(value) for key, value in vars(again).items()} == shown


def raise_configuration_error() -> None:
    raise ConfigurationError("acks", "must be all")


def test_an_error_crosses_a_process_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(raise_configuration_error)
        with pytest.raises(ConfigurationError, match="acks: must be all") as caught:
            future.result(timeout=60)
    assert caught.value.key == "acks"


def test_a_configuration_error_begins_with_the_key() -> None:
    error = ConfigurationError("AUDITWIRE_ON_FULL", "drop is no choice")
    assert str(error) == "AUDITWIRE_ON_FULL: drop is no choice"
    assert error.key == "AUDITWIRE_ON_FULL"


def test_a_missing_extra_tells_the_command_that_installs_it() -> None:
    error = MissingExtraError("auditwire tail", "cli")
    assert "pip install 'auditwire[cli]'" in str(error)
    assert "auditwire tail" in str(error)
    assert error.extra == "cli"


def test_a_flush_timeout_copies_the_parked_topics() -> None:
    parked = {"audit.error": "not authorised"}
    error = FlushTimeout("late", pending=1, parked=parked)
    parked.clear()
    assert error.parked == {"audit.error": "not authorised"}
    assert not error.durable
    assert FlushTimeout("late", pending=1).parked == {}


def test_a_group_tells_of_each_error_in_order() -> None:
    error = CollectorGroupError([SinkError("disk full"), KeyError("k")])
    assert str(error) == "2 collectors failed: SinkError: disk full; KeyError: 'k'"
    assert [type(e) for e in error.exceptions] == [SinkError, KeyError]


def test_a_group_of_one_counts_one_collector() -> None:
    assert str(CollectorGroupError([SinkError("full")])) == "1 collector failed: SinkError: full"


@pytest.mark.parametrize(
    ("members", "retriable"),
    [
        ([SinkError("a"), JournalFull("b")], True),
        ([SinkError("a"), CollectorClosed("b")], False),
        ([SinkError("a"), ValueError("b")], False),
    ],
)
def test_a_group_is_retriable_when_all_of_it_is(members: list[Exception], retriable: bool) -> None:
    assert CollectorGroupError(members).retriable is retriable


def test_a_member_that_cannot_be_printed_does_not_hide_the_others() -> None:
    class Mute(Exception):  # noqa: N818 - it is what it is
        def __str__(self) -> str:
            raise RuntimeError

    error = CollectorGroupError([Mute(), SinkError("full")])
    assert str(error) == "2 collectors failed: Mute: <unprintable>; SinkError: full"
