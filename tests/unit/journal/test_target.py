"""Targets, and what tells one boot of the machine from another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.journal.target import Target, boot_id, same_boot


def test_a_target_is_the_same_however_its_servers_are_written() -> None:
    assert Target.of(" K2:9092,k1:9092,, k1:9092", "audit") == Target("k1:9092,k2:9092", "audit")
    assert Target.of("", "audit") == Target("", "audit")


@given(st.lists(st.sampled_from(["a:1", "b:2", "c:3"])), st.text(max_size=3))
def test_a_target_is_read_from_the_information_that_it_wrote(servers: list[str], prefix: str) -> None:
    target = Target.of(",".join(servers), prefix)
    assert Target.from_info(json.loads(json.dumps({"target": target.info()}))) == target


@pytest.mark.parametrize(
    "info",
    [None, {}, {"target": None}, {"target": {"bootstrap": "a"}}, {"target": {"bootstrap": 1, "prefix": "p"}}],
)
def test_information_without_a_target_has_none(info: dict[str, object] | None) -> None:
    assert Target.from_info(info) is None


@pytest.mark.parametrize(
    ("mine", "other", "accepted"),
    [
        (Target("a:1", "p"), Target("a:1", "p"), True),
        (Target("a:1", "p"), Target("", "p"), True),
        (Target("", "p"), Target("a:1", "p"), True),
        (Target("a:1", "p"), Target("b:1", "p"), False),
        (Target("a:1", "p"), Target("a:1", "q"), False),
        (Target("", "p"), Target("", "q"), False),
    ],
)
def test_a_target_accepts_the_same_cluster_or_any_with_the_same_prefix(
    mine: Target, other: Target, accepted: bool
) -> None:
    assert mine.accepts(other) is accepted


def test_the_boot_id_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len(boot_id()) == 36
    monkeypatch.setattr("auditwire.journal.target._BOOT_ID", "/nowhere")
    assert boot_id() == ""


def test_a_stream_is_of_this_boot_only_where_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert same_boot({"boot_id": boot_id()})
    for other in ({}, {"boot_id": None}, {"boot_id": ""}, {"boot_id": "another"}, {"boot_id": [boot_id()]}):
        assert not same_boot(other)
    monkeypatch.setattr("auditwire.journal.target._BOOT_ID", "/nowhere")
    assert not same_boot({"boot_id": ""})
