"""A process that crashes again and again while the broker is away: its journal stays within its bound.

Each start leaves a stream, whose first segment takes far more of the disk than the few records in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from durable_support import MEBIBYTE, Site, assert_all_delivered
from emit_support import until

if TYPE_CHECKING:
    from pathlib import Path

    from rig.broker import Broker


@pytest.fixture
def site(faulty_broker: Broker, prefix: str, tmp_path: Path) -> Site:
    return Site(faulty_broker, prefix, tmp_path)


LOOP = """
for number in range(int(sys.argv[5])):
    pid = os.fork()
    if pid == 0:
        try:
            emit(make(journal_bytes=int(sys.argv[6]), on_full="drop_newest"), 20, str(number))
        except JournalFull as error:
            print(error, flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""


def allocated(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("bound", [256 * MEBIBYTE, 16 * MEBIBYTE], ids=["room for all", "room for a few"])
def test_a_process_that_crashes_a_hundred_times_stays_within_the_bound_and_loses_nothing(
    site: Site, bound: int
) -> None:
    site.broker.pause()
    ended = site.run(LOOP, "100", str(bound))
    assert ended.code == 0, ended.err
    assert allocated(site.journal) <= bound
    if bound == 256 * MEBIBYTE:
        assert (len(site.streams), ended.out) == (100, "")
        assert len(site.accepted) == 2_000
    else:
        assert len(site.streams) >= 10
        assert len(site.accepted) == 20 * len(site.streams)
        assert "the journal is full" in ended.out
    site.broker.unpause()
    kafka = site.collector(journal_bytes=bound)
    with kafka:
        until(lambda: site.streams == [kafka.stream_id], f"{len(site.streams)} streams are delivered", 90)
        assert kafka.health().adopted >= 10
    trail = site.trail()
    assert_all_delivered(site, trail)
