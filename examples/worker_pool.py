"""A coordinator that hands work to a pool of processes: one session, one stream for each process.

::

    python examples/worker_pool.py [HOST:PORT] [--start-method fork|spawn|forkserver]

Each process numbers and delivers its own events. What ties them together are the session, and the turn of the
coordinator that the workers' turns name as their parent.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import trail
from auditwire import AuditEmitter, KafkaCollector

WORKERS = 2


class Job(NamedTuple):
    """What a worker needs, and whom it works for: a context variable does not cross into another process."""

    bootstrap: str
    session_id: str
    turn_id: str
    path: str


@functools.cache
def audit_of_this_process(bootstrap: str) -> AuditEmitter:
    """The emitter, made once in a process.

    A forked worker inherits the coordinator's, which opens a stream of its own for it at its first event and
    leaves the coordinator's connections alone. A spawned worker inherits nothing, and makes its own here.
    """
    return AuditEmitter(KafkaCollector(bootstrap, service="worker-pool"))


def count_words(job: Job) -> int:
    """One job, in a worker."""
    audit = audit_of_this_process(job.bootstrap)
    # bound explicitly: what a forked worker inherits is where the coordinator was when it forked
    with (
        audit.bind(session_id=job.session_id, agent_id="coordinator", turn_id=job.turn_id),
        audit.turn(prompt=Path(job.path).name, agent_id="worker") as turn,
    ):
        try:
            with audit.tool_call("count_words", {"path": Path(job.path).name}) as call:
                call.result = len(Path(job.path).read_text(encoding="utf-8").split())
                turn.content = call.result
                return call.result
        except OSError:
            return 0


def coordinate(bootstrap: str, session: str, method: str) -> int:
    audit = audit_of_this_process(bootstrap)
    context = multiprocessing.get_context(method)
    with (
        tempfile.TemporaryDirectory() as folder,
        audit.turn(agent_id="coordinator", session_id=session) as turn,
    ):
        paths = [Path(folder, f"{number}.txt") for number in range(4)]
        for number, path in enumerate(paths[:-1]):  # the last is not there, and its worker says so
            path.write_text("word " * number, encoding="utf-8")
        pool = context.Pool(WORKERS)
        try:
            total = sum(pool.map(count_words, [Job(bootstrap, session, turn.id, str(p)) for p in paths], 1))
        finally:
            # not `with pool`: it ends workers by SIGTERM, and with them what they have not delivered yet;
            # after close and join each has delivered its events and closed its stream
            pool.close()
            pool.join()
        turn.content = total
    return total


def main() -> int:
    parser = trail.options(__doc__)
    parser.add_argument("--start-method", choices=multiprocessing.get_all_start_methods(), default="spawn")
    options = parser.parse_args()
    session = f"pool-{uuid4().hex[:5]}"
    with trail.broker(options.bootstrap) as bootstrap:
        print(f"{coordinate(bootstrap, session, options.start_method)} words")
        audit_of_this_process(bootstrap).close()
        return 0 if trail.show(bootstrap, {session}) else 1


if __name__ == "__main__":
    sys.exit(main())
