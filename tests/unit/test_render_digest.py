from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import ConfigurationError
from auditwire.jsonable import whole
from auditwire.render_digest import CHUNK, DigestKey, digester

KEY = DigestKey("2026-11", b"0123456789abcdef0123456789abcdef")


def expected(text: str, key: DigestKey | None) -> str:
    data = whole(text).encode()
    if key is None:
        return "sha256:" + hashlib.sha256(data).hexdigest()
    return f"hmac-sha256:{key.key_id}:" + hmac.new(key.secret, data, "sha256").hexdigest()


def test_without_digests_nothing_makes_them() -> None:
    assert digester(None) is None


def test_digests_of_known_texts() -> None:
    # FIPS 180-4's "abc", and RFC 4231's test case 2 with a key long enough
    sha256 = digester("sha256")
    assert sha256 is not None
    assert sha256("abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    keyed = digester(DigestKey("k", b"\x0b" * 20))
    assert keyed is not None
    assert keyed("Hi There") == (
        "hmac-sha256:k:b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )


@given(
    # halves of surrogate pairs in any order, among characters of all widths
    text=st.lists(st.characters() | st.sampled_from("\ud800\udbff\udc00\udfff"), max_size=40).map("".join),
    chunk=st.integers(2, 12),
    key=st.sampled_from([None, KEY]),
)
def test_a_digest_made_in_pieces_is_that_of_the_whole(text: str, chunk: int, key: DigestKey | None) -> None:
    digest = digester("sha256" if key is None else key, chunk=chunk)
    assert digest is not None
    assert digest(text) == expected(text, key)


@pytest.mark.parametrize("digests", ["sha256", KEY], ids=["plain", "keyed"])
def test_a_digest_of_100_mb_needs_one_pass_and_no_second_copy(digests: Any) -> None:
    text = "x" * 100_000_000
    digest = digester(digests)
    assert digest is not None
    tracemalloc.start()
    try:
        found = digest(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK
    assert found == expected(text, None if digests == "sha256" else digests)


def test_a_key_does_not_show_its_secret() -> None:
    assert repr(KEY) == "DigestKey(key_id='2026-11')"


def test_a_key_can_be_handed_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(KEY)) == KEY == copy.deepcopy(KEY)


@pytest.mark.parametrize("key_id", ["", "a:b", "a b", "a\n", "é", "k" * 65, None, 7])
def test_a_key_id_that_would_not_stand_in_a_digest_is_refused(key_id: Any) -> None:
    with pytest.raises(ConfigurationError, match="digests: key id"):
        DigestKey(key_id, KEY.secret)


@pytest.mark.parametrize("secret", [b"", b"hunter2", "hunter2" * 10, None, bytearray(32)])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="16 or more bytes") as caught:
        DigestKey("k", secret)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("digests", ["sha512", "", False, b"0" * 32, {"key_id": "k"}])
def test_anything_else_is_refused_with_the_choices(digests: Any) -> None:
    with pytest.raises(ConfigurationError, match='neither None, "sha256" nor a DigestKey'):
        digester(digests)
