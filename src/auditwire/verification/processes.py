"""Several processes that share a check: each reads some partitions, then each judges some of the streams.

They are programs of their own (:mod:`.worker`), so that no Kafka client and no lock of this process is
copied, and the program's main module is not run a second time. Orders go to them, and progress and results
come from them, over a pipe for each. A process that ends before it has said that it is done is an error of
the check: what it had is not known. They end with this process, however it ends.
"""

from __future__ import annotations

import heapq
import os
import pickle
import signal
import subprocess
import sys
from multiprocessing.connection import Pipe, wait
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.verification.gathering import Gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from auditwire.reading.record import Place
    from auditwire.verification.gathering import Source
    from auditwire.verification.state import KnownPartition
    from auditwire.verification.worker import Judged, Judging

__all__ = ["Workers", "shared_out"]

_SLICE = 0.2  # seconds between two looks whether all processes live
_END_SECONDS = 5.0


def shared_out(sizes: Mapping[Place, int], count: int) -> list[set[Place]]:
    """Partitions in so many sets of about the same size; every partition is in one.

    Args:
        sizes: How much there is to read of each.
        count: How many sets.
    """
    heap: list[tuple[int, int]] = [(0, number) for number in range(count)]
    sets: list[set[Place]] = [set() for _ in range(count)]
    for place, size in sorted(sizes.items(), key=itemgetter(1), reverse=True):
        load, number = heapq.heappop(heap)
        sets[number].add(place)
        heapq.heappush(heap, (load + size + 1, number))
    return sets


class Workers:
    """The processes. A context manager: they end with it.

    Args:
        source: What is read.
        count: How many processes.
        directory: Where the facts go.

    Raises:
        ConfigurationError: The settings cannot be given to another process: one is a function or a logger.
    """

    def __init__(self, source: Source, count: int, directory: Path) -> None:
        try:
            pickle.dumps(source)
        except Exception as error:
            raise ConfigurationError(
                "jobs", f"the settings cannot be given to other processes ({error}): take one process"
            ) from error
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[Connection] = []
        try:
            for number in range(count):
                self._start()
                self._send(number, (source, directory))
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        ours, theirs = Pipe()
        self._pipes.append(ours)
        try:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "auditwire.verification.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for us, and we end them
            )
        finally:
            theirs.close()
        self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they do."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:  # noqa: PERF203 - a few
                process.kill()
                process.wait()

    def gather(
        self,
        parts: Sequence[Collection[Place]],
        *,
        known: Mapping[Place, KnownPartition] | None,
        on_progress: Callable[[int, int], None],
    ) -> Gathered:
        """Read, each process its part.

        Raises:
            AuditwireError: A process failed or died.
        """
        for number, part in enumerate(parts):
            self._send(number, ("gather", part, known))
        out = Gathered()
        began: set[int] = set()
        progress: dict[int, tuple[int, int]] = {}
        left = set(range(len(parts)))
        while left:
            for number in self._ready(left):
                what, *values = self._receive(number)
                if what == "began":
                    began.add(number)
                    if len(began) == len(parts):
                        for other in range(len(parts)):
                            self._send(other, "go on")
                elif what == "progress":
                    progress[number] = values[0]
                else:
                    out.add(values[0])
                    left.remove(number)
            if len(began) == len(parts):
                on_progress(sum(p[0] for p in progress.values()), sum(p[1] for p in progress.values()))
        return out

    def judge(self, runs: Sequence[Path], how: Judging) -> Iterator[Judged]:
        """Judge all streams, in the order of their ids.

        Raises:
            AuditwireError: A process failed or died.
        """
        count = len(self._processes)
        for number in range(count):
            self._send(number, ("judge", runs, how, (number, count)))
        streams = [self._reports(number) for number in range(count)]
        return heapq.merge(*streams, key=attrgetter("stream_id"))

    # -- inside ---------------------------------------------------------------------------------------------

    def _reports(self, number: int) -> Iterator[Judged]:
        while True:
            what, *values = self._receive(number)
            if what == "judged":
                return
            yield from values[0]

    def _ready(self, numbers: Collection[int]) -> list[int]:
        pipes = {self._pipes[number]: number for number in numbers}
        return [pipes[pipe] for pipe in wait(list(pipes), _SLICE) if pipe in pipes]

    def _send(self, number: int, what: Any) -> None:
        try:
            self._pipes[number].send(what)
        except OSError as error:
            raise self._dead(number) from error

    def _receive(self, number: int) -> Any:
        try:
            what, *values = self._pipes[number].recv()
        except (EOFError, OSError) as error:
            raise self._dead(number) from error
        if what == "failed":
            raise values[0]
        return what, *values

    def _dead(self, number: int) -> AuditwireError:
        try:
            code = self._processes[number].wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            how = "without an end"
        else:
            how = f"with status {code}" if code >= 0 else f"by signal {signal.Signals(-code).name}"
        return AuditwireError(
            f"a process of the check ended {how}: its part is not known, and so nothing is proven; was there "
            "too little memory?"
        )
