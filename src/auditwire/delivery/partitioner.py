"""The partition of a key, as Java clients compute it.

The sender has to know a record's partition before it is produced (a partition that does not answer gets no
more, the others go on), so it computes what librdkafka's partitioners would. Same key, same partition as with
the JVM's default partitioner is what makes topics co-partitioned, and joins possible.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PARTITIONERS", "consistent", "murmur2"]

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """MurmurHash2, 32 bits, seed 0x9747b28c, made positive as Kafka's ``Utils.toPositive`` does.

    Source: Apache Kafka, ``org.apache.kafka.common.utils.Utils.murmur2``.
    """
    length = len(key)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if length & 3:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return (h ^ h >> 15) & 0x7FFFFFFF


def consistent(key: bytes) -> int:
    """CRC-32 of the key: librdkafka's ``consistent`` partitioners."""
    return zlib.crc32(key)


PARTITIONERS: dict[str, Callable[[bytes], int]] = {
    "murmur2_random": murmur2,
    "murmur2": murmur2,
    "consistent_random": consistent,
    "consistent": consistent,
}
"""librdkafka's name -> hash of the key; the partition is the hash modulo the topic's partitions."""
