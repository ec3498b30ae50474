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
