from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.delivery.partitioner import PARTITIONERS, consistent, murmur2

# From Apache Kafka's UtilsTest.testMurmur2, before toPositive
KAFKA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), KAFKA_VECTORS.items())
def test_murmur2_gives_what_kafka_gives(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0x7FFFFFFF


@given(st.binary(max_size=200))
def test_every_key_has_a_positive_hash_of_31_bits(key: bytes) -> None:
    assert 0 <= murmur2(key) < 2**31


def test_consistent_is_the_crc_32() -> None:
    assert consistent(b"123456789") == 0xCBF43926


def test_the_default_is_what_jvm_clients_use() -> None:
    assert PARTITIONERS["murmur2_random"] is murmur2
