"""The raw topic's contract: keys read as they were written, markers are known by their key, deletions have a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.raw_topic import LAST_MOMENT, PERIOD_MARKER, RawKey, connector_of, deleted_at, gsid_of, is_period_marker

CONNECTORS = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)
GSIDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)  # anything that UTF-8 can hold, slashes too


@given(CONNECTORS, GSIDS)
def test_a_key_reads_as_it_was_written(connector: str, gsid: str) -> None:
    key = RawKey(connector, gsid).format()
    assert RawKey.parse(key) == RawKey(connector, gsid)
    assert (connector_of(key), gsid_of(key)) == (connector, gsid)


@pytest.mark.parametrize(
    ("key", "parsed", "connector", "gsid"),
    [
        (b"acme/1I00", RawKey("acme", "1I00"), "acme", "1I00"),
        (b"acme/a/b", RawKey("acme", "a/b"), "acme", "a/b"),
        (b"acme/!period", RawKey("acme", PERIOD_MARKER), "acme", PERIOD_MARKER),
        (b"acme/\xff", RawKey("acme", "\ufffd"), "acme", "\ufffd"),
        (b"acme/", None, "acme", ""),
        (b"acme", None, "acme", ""),
        (b"/1I00", None, "", "1I00"),
        (b"/", None, "", ""),
        (b"", None, "", ""),
        (None, None, "", ""),
    ],
)
def test_a_key_of_another_form_has_the_parts_that_it_has(
    key: bytes | None, parsed: RawKey | None, connector: str, gsid: str
) -> None:
    assert RawKey.parse(key) == parsed
    assert (connector_of(key), gsid_of(key)) == (connector, gsid)


@pytest.mark.parametrize(
    ("key", "marker"),
    [
        (RawKey("acme", PERIOD_MARKER).format(), True),
        (RawKey("acme", "1I00").format(), False),
        (RawKey("acme", "a/!period").format(), False),
        (b"/!period", False),
        (b"!period", False),
        (b"acme/!periods", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_period_marker_is_known_by_its_key(key: bytes | None, marker: bool) -> None:
    assert is_period_marker(key) is marker


@pytest.mark.parametrize(
    ("header", "at"),
    [
        ("1772445600000", 1_772_445_600_000),
        ("0", 0),
        (str(LAST_MOMENT), LAST_MOMENT),
        *((header, 5) for header in (None, "", "-1", "soon", "²", "١٢", "1_0", " 1", "1.0", "9" * 5000)),
        *((header, 5) for header in ("253402300800000", "99999999999999999")),
    ],
)
def test_a_deletion_has_its_header_s_time_or_else_that_of_its_writing(header: str | None, at: int) -> None:
    assert deleted_at(header, 5) == at


@given(st.text())
def test_every_header_is_a_time_of_deletion_that_dates_can_express(header: str) -> None:
    assert 0 <= deleted_at(header, 5) <= LAST_MOMENT
