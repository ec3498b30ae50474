from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import __version__
from auditwire.errors import ConfigurationError, DecodingError
from auditwire.reading import Gap, Message
from auditwire.replaying.manifest import Comparison, load_manifest, manifest_of
from auditwire.replaying.tally import Tally
from support.stream_builder import STREAM, StreamBuilder, rewritten

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auditwire.reading import Record

OTHER = "01920000-0000-7000-8000-000000000002"
THIRD = "01920000-0000-7000-8000-000000000003"

ONE = StreamBuilder().turns(6).close().records
TWO = StreamBuilder(OTHER).turns(3).records


def tallied(records: Iterable[Record]) -> Tally:
    tally = Tally()
    for record in records:
        tally.add(record)
    return tally


def document(tally: Tally, **changes: Any) -> dict[str, Any]:
    return {
        **manifest_of(
            tally,
            source={"cluster_id": "a", "prefix": "audit"},
            target={"cluster_id": "b", "prefix": "copy"},
            target_topic=lambda topic: topic.replace("audit", "copy"),
            selection={"since": "2h"},
            began_us=1_700_000_000_000_000,
            ended_us=1_700_000_001_500_000,
            untimed=0,
            runs=2,
            crashes=1,
        ),
        **changes,
    }


def compared(path: Path, copied: Iterable[Record], there: Iterable[Record]) -> Comparison:
    path.write_text(json.dumps(document(tallied(copied))))
    comparison = Comparison(load_manifest(path))
    for record in there:
        comparison.add(record)
    return comparison


def kinds(comparison: Comparison) -> dict[str, str]:
    return {difference.stream_id: difference.kind for difference in comparison.differences()}


# -- the document -------------------------------------------------------------------------------------------


def test_a_manifest_says_where_from_where_to_what_and_what_not() -> None:
    tally = tallied(TWO)
    tally.duplicate(TWO[0])
    tally.gap(Gap(OTHER, 4, 7, 0.0, "end"))
    message = Message(topic="t", partition=0, offset=0, timestamp_ms=0, key=None, headers=[], value=b"")
    tally.undecoded(message, DecodingError("foreign", ""))
    first = TWO[0].timestamp_ms
    assert document(tally) == {
        "format": "auditwire replay manifest",
        "version": 1,
        "library": __version__,
        "began": "2023-11-14T22:13:20.000000+00:00",
        "ended": "2023-11-14T22:13:21.500000+00:00",
        "source": {"cluster_id": "a", "prefix": "audit"},
        "target": {"cluster_id": "b", "prefix": "copy"},
        "selection": {"since": "2h"},
        "records": 4,
        "first_timestamp_ms": first,
        "last_timestamp_ms": first + 3,
        "topics": {
            "audit.checkpoint": {
                "target": "copy.checkpoint",
                "partitions": {"0": {"first_offset": 100, "last_offset": 100, "records": 2}},
            },
            "audit.turn-start": {
                "target": "copy.turn-start",
                "partitions": {
                    str(n): {"first_offset": 100 + n, "last_offset": 100 + n, "records": 1} for n in (1, 2, 3)
                },
            },
        },
        "streams": {
            OTHER: {"first": 0, "last": 3, "records": 4, "digest": tally.streams[OTHER].digest.hex()}
        },
        "duplicates": 1,
        "left_out": {
            "undecodable": {"foreign": 1},
            "gaps": [{"stream_id": OTHER, "first": 4, "last": 7, "reason": "end"}],
            "gap_count": 1,
        },
        "untimed": 0,
        "runs": 2,
        "crashes": 1,
    }


def test_what_a_check_needs_comes_back_from_the_file(tmp_path: Path) -> None:
    tally = tallied([*ONE, *TWO])
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document(tally)))
    manifest = load_manifest(path)
    assert (manifest.prefix, manifest.records) == ("copy", 12)
    assert manifest.first_ms == ONE[0].timestamp_ms
    assert {name: stream.to_dict() for name, stream in manifest.streams.items()} == document(tally)["streams"]


_WITHOUT_OLDEST: list[dict[str, Any]] = [{"untimed": 1}, {"first_timestamp_ms": None}]


def test_a_copy_with_other_timestamps_has_no_oldest_one(tmp_path: Path) -> None:
    for number, changes in enumerate(_WITHOUT_OLDEST):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(document(tallied(TWO), **changes)))
        assert load_manifest(path).first_ms is None


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "auditwire replay state"},
        {"version": 2},
        {"records": 3},
        {"records": None},
        {"streams": []},
        {"target": None},
        {"untimed": "none"},
        {"first_timestamp_ms": "now"},
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document(tallied(TWO), **changes)))
    with pytest.raises(ConfigurationError, match=r"--check: .+ is no manifest of auditwire replay"):
        load_manifest(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", None])
def test_no_file_and_other_content_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="--check: "):
        load_manifest(path)


# -- the comparison -----------------------------------------------------------------------------------------


def test_a_whole_copy_differs_in_nothing(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "m", [*ONE, *TWO], [*TWO, *ONE])
    assert comparison.differences() == []
    assert (comparison.records, comparison.others) == (12, 0)


def test_every_kind_of_difference_is_found_and_named(tmp_path: Path) -> None:
    path = tmp_path / "m"
    changed = rewritten(ONE[2], prompt_preview="other")
    assert kinds(compared(path, ONE, ONE[:-1])) == {STREAM: "missing"}
    assert kinds(compared(path, ONE, [*ONE[:2], *ONE[3:]])) == {STREAM: "missing"}
    assert kinds(compared(path, [*ONE, *TWO], ONE)) == {OTHER: "missing"}
    assert kinds(compared(path, [*ONE[:2], *ONE[3:]], ONE)) == {STREAM: "added"}
    assert kinds(compared(path, ONE, [*ONE[:2], changed, *ONE[3:]])) == {STREAM: "changed"}
    assert kinds(compared(path, ONE, [*ONE[:2], *ONE[3:], ONE[2]])) == {STREAM: "unordered"}
    (difference,) = compared(path, ONE, ONE[:-1]).differences()
    assert difference.to_dict() == {
        "stream_id": STREAM,
        "kind": "missing",
        "expected": 8,
        "found": 7,
        "message": f"stream {STREAM}, sequences 0 to 7: 1 of 8 records are not there",
    }


def test_records_swapped_for_others_of_the_same_number_do_not_go_unseen(tmp_path: Path) -> None:
    copied = [*ONE[:2], *ONE[3:]]
    there = [*ONE[:3], *ONE[4:]]
    assert kinds(compared(tmp_path / "m", copied, there)) == {STREAM: "changed"}


def test_records_that_were_copied_late_are_compared_by_themselves(tmp_path: Path) -> None:
    copied = [*ONE[:2], *ONE[3:], ONE[2]]
    changed = rewritten(ONE[2], prompt_preview="other")
    path = tmp_path / "m"
    assert kinds(compared(path, copied, ONE)) == {}
    assert kinds(compared(path, copied, copied)) == {}
    assert kinds(compared(path, copied, [*ONE[:2], changed, *ONE[3:]])) == {STREAM: "changed"}
    assert kinds(compared(path, copied, [*ONE[:2], *ONE[3:]])) == {STREAM: "missing"}


def test_what_the_manifest_says_nothing_of_is_counted_and_no_difference(tmp_path: Path) -> None:
    third = StreamBuilder(THIRD).turns(2).records
    comparison = compared(tmp_path / "m", ONE[2:5], [*ONE, *third])
    assert comparison.differences() == []
    assert (comparison.records, comparison.others) == (3, 8)
