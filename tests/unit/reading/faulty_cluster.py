"""librdkafka's mock cluster in this process, made to answer with errors."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auditwire.testing._mock_cluster import MockCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# the protocol's numbers: https://kafka.apache.org/protocol#protocol_api_keys
FETCH, LIST_OFFSETS, FIND_COORDINATOR = 1, 2, 10
# and the client's own for a connection that is cut
CUT = -195


class FaultyCluster:
    """A mock cluster of one broker.

    Attributes:
        bootstrap_servers: Its address.
    """

    def __init__(self, cluster: MockCluster) -> None:
        self.bootstrap_servers = cluster.bootstrap_servers
        self.create = cluster.create
        self._library = cluster._library
        self._cluster = ctypes.c_void_p(cluster._cluster)

    def answer(self, request: int, error: int, count: int = 1_000) -> None:
        """Answer the next requests of a kind with an error."""
        errors = (ctypes.c_int * count)(*[error] * count)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(count), errors
        )

    def heal(self, request: int) -> None:
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(request))

    def refuse(self, topic: str, error: int) -> None:
        """Answer with an error for this topic, wherever its metadata are asked for."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), ctypes.c_int(error))

    def produce(self, topic: str, value: bytes, header: bytes) -> None:
        """Produce a message with a header whose name need not be text, which the Python client cannot."""
        pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        library = self._library
        said = ctypes.create_string_buffer(512)
        conf = pointer(library.rd_kafka_conf_new())
        for name, text in (("bootstrap.servers", self.bootstrap_servers), ("log_level", "0")):
            library.rd_kafka_conf_set(conf, name.encode(), text.encode(), said, size(512))
        producer = pointer(library.rd_kafka_new(number(0), conf, said, size(512)))
        library.rd_kafka_headers_new.restype = pointer
        headers = pointer(library.rd_kafka_headers_new(size(1)))
        library.rd_kafka_header_add(headers, header, ctypes.c_ssize_t(len(header)), b"x", ctypes.c_ssize_t(1))
        # enum rd_kafka_vtype_t: 1 topic, 4 value and size, 10 headers, 0 end
        value_and_size = number(4), value, size(len(value))
        refused = library.rd_kafka_producev(
            producer, number(1), topic.encode(), *value_and_size, number(10), headers, number(0)
        )
        assert refused == 0
        assert library.rd_kafka_flush(producer, number(10_000)) == 0
        library.rd_kafka_destroy(producer)

    def rebalance_at_once(self) -> None:
        """Do not wait three seconds for further members when the first one joins a group."""
        delay = self._library.rd_kafka_mock_group_initial_rebalance_delay_ms
        delay(self._cluster, ctypes.c_int32(0))

    def create_topics(self, topics: list[str], *, partitions: int) -> None:
        """As ``EmbeddedBroker`` does."""
        self.create(topics, partitions)

    def down(self) -> None:
        self._library.rd_kafka_mock_broker_set_down(self._cluster, ctypes.c_int32(1))

    def up(self) -> None:
        self._library.rd_kafka_mock_broker_set_up(self._cluster, ctypes.c_int32(1))


@contextmanager
def faulty_cluster() -> Iterator[FaultyCluster]:
    cluster = MockCluster(1)
    try:
        yield FaultyCluster(cluster)
    finally:
        cluster.close()
