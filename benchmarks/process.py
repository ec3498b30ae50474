"""One measurement in a process of its own: ``python -m benchmarks.process JOB``.

JOB is a :class:`~benchmarks.variants.base.Job` as JSON. The process makes its variant, writes the warm-up,
says ``ready`` and waits for a line on standard input, so that several can begin together; then it measures,
and says the figures:

================= =========================================================================================
``ready``         ``{"ready": true}``, or ``{"missing": "faststream"}``, and nothing more comes
``figures``       a :class:`Run` as JSON
================= =========================================================================================

What is counted begins with the first event after the warm-up and ends when the broker has acknowledged the
last one. Imports, the making of clients and their first requests are not in it.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks.variants import load
from benchmarks.variants.base import NotDeliveredError
from benchmarks.workload import forget_peak, resident_mib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.variants.base import Job, Variant

__all__ = ["MissingPackageError", "Run", "measure", "run_jobs"]

_SOFT = {"PYTHONHASHSEED": "0"}


class MissingPackageError(LookupError):
    """A variant needs a package that is not installed."""


@dataclass(frozen=True)
class Run:
    """What one process measured; times are microseconds for an event.

    Attributes:
        events: How many were written.
        cpu_us: CPU of all threads of the process, until the last acknowledgement.
        other_cpu_us: CPU of the process that delivers for it.
        caller_us: CPU of the threads that emit, until their last emit returned.
        emitted_per_s: Events/s until the last emit returned.
        per_s: Events/s until the last acknowledgement.
        peak_mib: The process's highest resident memory meanwhile, MiB.
        added_mib: How much of that was not there before, MiB.
    """

    events: int
    cpu_us: float
    other_cpu_us: float
    caller_us: float
    emitted_per_s: float
    per_s: float
    peak_mib: float
    added_mib: float

    @property
    def total_us(self) -> float:
        """CPU of all processes."""
        return self.cpu_us + self.other_cpu_us


def measure(variant: Variant) -> Run:
    """Write the job's events, and see them acknowledged."""
    job = variant.job
    total = job.events * job.threads
    caller = [0.0] * job.threads

    def work(thread: int) -> None:
        began = time.thread_time()
        variant.emit(job.events, thread)
        caller[thread] = time.thread_time() - began

    others = [threading.Thread(target=work, args=(thread,)) for thread in range(1, job.threads)]
    gc.collect()
    forget_peak()
    before_mib = resident_mib()[0]
    other, cpu, start = variant.other_cpu(), time.process_time(), time.perf_counter()
    for thread in others:
        thread.start()
    work(0)
    for thread in others:
        thread.join()
    emitted = time.perf_counter()
    if other:  # waiting for another process is none of this one's work
        cpu = time.process_time() - cpu
    variant.finish()
    if not other:
        cpu = time.process_time() - cpu
    end = time.perf_counter()
    other = variant.other_cpu() - other
    peak_mib = resident_mib()[1]
    if (done := variant.acknowledged()) != total + job.warm_up:
        raise NotDeliveredError(f"{job.variant}: {done} of {total + job.warm_up} events were acknowledged")
    return Run(
        events=total,
        cpu_us=cpu / total * 1e6,
        other_cpu_us=other / total * 1e6,
        caller_us=sum(caller) / total * 1e6,
        emitted_per_s=total / (emitted - start),
        per_s=total / (end - start),
        peak_mib=peak_mib,
        added_mib=peak_mib - before_mib,
    )


def run_jobs(jobs: Sequence[Job]) -> list[Run]:
    """Measure each in a process of its own; several begin together.

    Raises:
        MissingPackageError: A package is not installed.
        NotDeliveredError: A process failed; what it said stands on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="auditwire-") as path:
        children = [_start(replace(job, path=os.path.join(path, str(n)))) for n, job in enumerate(jobs)]  # noqa: PTH118
        try:
            for child in children:
                if "missing" in (said := _answer(child)):
                    raise MissingPackageError(said["missing"])
            for child in children:
                assert child.stdin is not None  # noqa: S101 - a pipe, as started below
                child.stdin.write("go\n")
                child.stdin.flush()
            return [Run(**_answer(child)) for child in children]
        finally:
            for child in children:
                _end(child)


def _start(job: Job) -> subprocess.Popen[str]:
    os.mkdir(job.path)  # noqa: PTH102 - under a temporary directory
    return subprocess.Popen(  # noqa: S603 - this interpreter, this package
        [sys.executable, "-m", "benchmarks.process", json.dumps(asdict(job))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **_SOFT, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def _answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None  # noqa: S101 - a pipe, as started above
    line = child.stdout.readline()
    if not line:
        raise NotDeliveredError(f"the measuring process ended with status {child.wait()}; see above")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _end(child: subprocess.Popen[str]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(job: Job) -> int:
    """The process; see the module."""
    try:
        made = load(job.variant)
    except ModuleNotFoundError as error:
        _say({"missing": error.name or str(error)})
        return 0
    variant = made(job)
    try:
        variant.emit(job.warm_up)
        variant.finish()
        _say({"ready": True})
        if not sys.stdin.readline():
            return 1
        run = measure(variant)
    finally:
        variant.close()
    _say(asdict(run))
    return 0


if __name__ == "__main__":
    from benchmarks.variants.base import Job

    sys.exit(main(Job(**json.loads(sys.argv[1]))))
