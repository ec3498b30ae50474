"""The process behind :class:`~auditwire.testing.EmbeddedBroker`: librdkafka's mock cluster.

In come commands on standard input, out go answers on standard output, one JSON object a line::

    {"bootstrap_servers": "127.0.0.1:4321"}                    said once, when it can be used
    {"create": ["audit.turn-start"], "partitions": 6}          -> {"created": 1}
    {"dropped": true}                                          -> {"dropped": {"audit.turn-start": 8300}}

The process ends when standard input does, which is when its parent closes it or dies, and also when it finds
itself with another parent: a process that its parent forked may hold the pipe open for longer.

The cluster is made through the C interface, which librdkafka exports for tests (``rdkafka_mock.h``): the
Python client's ``test.mock.num.brokers`` makes the same cluster, but none of its topics.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import queue
import sys
import threading
import time
from typing import IO, Any

from confluent_kafka import KafkaException, TopicPartition, cimpl
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # not in its __all__

__all__ = ["MockCluster", "MockClusterError", "serve"]

LOOK_SECONDS = 1.0
"""How often it is looked whether records were dropped, and whether the parent is still the same."""

_EXTENSION = cimpl.__file__
_PRODUCER = 0  # enum rd_kafka_type_t; any client carries a mock cluster
_TOPIC_EXISTS = 36  # RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS
_REQUEST_SECONDS = 5.0

_BETWEEN_TOPICS = 0.001
"""Seconds. The cluster's thread answers a request first and empties its wake-up pipe then: a request that
comes in between loses its wake-up and waits a second. Without a pause, one or two of 60 topics did."""


class MockClusterError(RuntimeError):
    """The mock cluster could not be made, or refused a topic."""


def _library() -> ctypes.CDLL:
    """The librdkafka that the Python client itself uses, with the types of what is called here.

    A symbol is looked for in the extension module and in what it is linked with, so that nobody has to know
    where the wheel, or a system package, has put the shared library.
    """
    library = ctypes.CDLL(_EXTENSION)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
    }
    for name, (result, arguments) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise MockClusterError(
                f"the Kafka client's librdkafka does not export {name}: "
                "install confluent-kafka from its wheel (pip install --force-reinstall confluent-kafka)"
            ) from None
        function.restype, function.argtypes = result, arguments
    return library


class MockCluster:
    """A mock cluster in this process.

    Args:
        brokers: How many brokers; each listens on a port of its own.

    Attributes:
        bootstrap_servers: ``host:port``, with commas between several.
    """

    def __init__(self, brokers: int) -> None:
        self._library = _library()
        error = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        # its only line of log would be that it has no bootstrap.servers, which is so
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", error, len(error))
        self._client = self._library.rd_kafka_new(_PRODUCER, conf, error, len(error))
        if not self._client:
            raise MockClusterError(f"librdkafka made no client: {error.value.decode()}")
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        if not self._cluster:
            raise MockClusterError(f"librdkafka made no mock cluster of {brokers} brokers")
        self.bootstrap_servers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        logger = logging.getLogger("auditwire.testing")
        logger.addHandler(logging.NullHandler())  # nothing raw on stderr
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap_servers}, logger=logger)

    def create(self, topics: list[str], partitions: int) -> int:
        """Make the topics that are not there; how many were made.

        Raises:
            MockClusterError: A topic was refused.
        """
        made = 0
        for topic in topics:
            code = self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)
            if code not in (0, _TOPIC_EXISTS):
                raise MockClusterError(f"topic {topic!r} was refused with error {code}")
            made += code == 0
            time.sleep(_BETWEEN_TOPICS)
        return made

    def dropped(self) -> dict[str, int]:
        """Topic -> records dropped so far, for those that dropped any.

        The mock cluster deletes the oldest batch when a partition holds 5 MB and moves its first offset on;
        nothing else moves it, so that the sum of the first offsets is the number of records dropped.
        """
        wanted = {
            TopicPartition(topic, partition): OffsetSpec.earliest()  # type: ignore[no-untyped-call]
            for topic, metadata in self._admin.list_topics(timeout=_REQUEST_SECONDS).topics.items()
            for partition in metadata.partitions
        }
        if not wanted:
            return {}
        counts: dict[str, int] = {}
        for found, future in self._admin.list_offsets(wanted, request_timeout=_REQUEST_SECONDS).items():
            first = future.result().offset
            if first > 0:
                counts[found.topic] = counts.get(found.topic, 0) + first
        return dict(sorted(counts.items()))

    def close(self) -> None:
        """End the cluster; every connection is reset."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


def _answer(cluster: MockCluster, line: str) -> dict[str, Any]:
    command = json.loads(line)
    try:
        if "create" in command:
            return {"created": cluster.create(command["create"], command["partitions"])}
        return {"dropped": cluster.dropped()}
    except (MockClusterError, KafkaException) as error:
        return {"error": str(error)}


def _warn_of_dropped(cluster: MockCluster, warned: set[str], errors: IO[str]) -> None:
    try:
        dropped = cluster.dropped()
    except KafkaException:  # too busy to answer; the next look finds the same
        return
    for topic in dropped.keys() - warned:
        errors.write(
            f"auditwire: the embedded broker keeps 5 MB of a partition and has dropped the oldest records of "
            f"topic {topic}; use a real broker for this much\n"
        )
        errors.flush()
    warned.update(dropped)


def serve(
    brokers: int, commands: IO[str], answers: IO[str], errors: IO[str], look: float = LOOK_SECONDS
) -> None:
    """Run a cluster until ``commands`` ends.

    Args:
        brokers: How many brokers.
        commands: Lines as in the module's docstring.
        answers: Gets one line for each, and the address first.
        errors: Gets a line for each topic that begins to drop records.
        look: Seconds between two looks for dropped records.
    """
    parent = os.getppid()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in commands:
            lines.put(line)
        lines.put("")

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    cluster = MockCluster(brokers)
    say({"bootstrap_servers": cluster.bootstrap_servers})
    threading.Thread(target=listen, daemon=True).start()
    warned: set[str] = set()
    while os.getppid() == parent:
        try:
            line = lines.get(timeout=look)
        except queue.Empty:
            _warn_of_dropped(cluster, warned, errors)
            continue
        if not line:
            break
        say(_answer(cluster, line))
    _warn_of_dropped(cluster, warned, errors)
    cluster.close()


def main() -> None:
    """``python -m auditwire.testing._mock_cluster BROKERS``."""
    try:
        serve(int(sys.argv[1]), sys.stdin, sys.stdout, sys.stderr)
    except MockClusterError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the parent died while it was being answered
        pass
    os._exit(0)  # the listening thread still reads standard input, and would hold up the interpreter's exit


if __name__ == "__main__":
    main()
