"""Whatever text a tenant holds, its rows can be read."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.gainsight.jsontext import loads

ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from('\ud83d\ude80\ud800\udfff\\u"/dD8'))


def whole(text: str) -> str:
    """With U+FFFD for each half of a character; two halves that meet are one."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@given(ANY_TEXT)
def test_halves_of_characters_are_replaced_and_nothing_else_is_changed(text: str) -> None:
    assert loads(json.dumps({"a": text, "b": [text, 1]}).encode()) == {"a": whole(text), "b": [whole(text), 1]}


@given(st.text())
def test_sound_text_is_as_it_is(text: str) -> None:
    for ascii_only in (True, False):
        assert loads(json.dumps(text, ensure_ascii=ascii_only).encode()) == text


def test_an_escaped_backslash_is_no_half() -> None:
    assert loads(rb'["\\ud800", "\ud800"]') == ["\\ud800", "�"]


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    assert loads(b'["caf\xe9"]') == ["caf�"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": "\\ud800', b"<html>", b"[NaN]", b'["\\x"]'])
def test_what_is_no_json_is_none(content: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(content)
