"""Dates in every form in which tenants write them, and in the one in which filters are sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frame_gainsight.gainsight import format_date, parse_date, whole_second

AT = 1_707_117_436_000  # 2024-02-05T07:17:16Z
MOMENTS = st.integers(0, 253_402_300_799_999)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AT, AT),
        (float(AT), AT),
        (AT + 0.9, AT),
        (str(AT), AT),
        (0, 0),
        ("2024-02-05T07:17:16Z", AT),
        ("2024-02-05T07:17:16z", AT),
        ("2024-02-05T07:17:16.5Z", AT + 500),
        ("2024-02-05T07:17:16.123Z", AT + 123),
        ("2024-02-05T07:17:16.123999Z", AT + 123),
        ("2024-02-05T07:17:16.123456789Z", AT + 123),
        ("2024-02-05T07:17:16+00:00", AT),
        ("2024-02-05T07:17:16+0000", AT),
        ("2024-02-05T07:17:16.000+0000", AT),
        ("2024-02-05T00:17:16.000-07:00", AT),
        ("2024-02-05T12:47:16+0530", AT),
        ("2024-02-05T07:17:16", AT),
        ("2024-02-05 07:17:16", AT),
        ("2024-02-05 07:17:16 Z", AT),
        (" 2024-02-05T07:17:16Z ", AT),
        ("2024-02-05", 1_707_091_200_000),
        ("1969-12-31T23:59:59.999Z", -1),
        (-1, -1),  # a customer since before 1970, in a tenant that writes milliseconds
        ("", None),
        (None, None),
    ],
)
def test_every_form_of_a_reply_is_read(value: Any, expected: int | None) -> None:
    assert parse_date(value) == expected


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_this_machine_s_zone_is_never_used() -> None:
    assert parse_date("2024-02-05 07:17:16") == AT
    assert format_date(AT) == "2024-02-05T07:17:16Z"


@pytest.mark.parametrize(
    "value",
    [
        True,
        "yesterday",
        "03-22-2018",
        "2024-02-30",
        "2024-02-05T25:00:00Z",
        "2024-02-05T07:17:16Q",
        "12",
        "1" * 16,
        1e300,
        float("inf"),
        float("nan"),
        10**18,
        "9" * 5000,
        "2024-02-05T07:17:16." + "1" * 5000,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_value_that_is_no_date_is_named_in_the_error(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a date") as caught:
        parse_date(value)
    assert str(value)[:8] in str(caught.value)


@pytest.mark.parametrize(("value", "kind"), [([], "a list"), ([1] * 10**6, "a list"), ({"date": 1}, "an object")])
def test_what_is_no_text_or_number_is_no_date_and_is_not_quoted(value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"^{kind} is not a date$"):
        parse_date(value)


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 253_402_300_800_000])
def test_a_moment_outside_of_the_years_of_dates_is_no_date(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a date between the years 1 and 9999"):
        parse_date(value)


@given(st.integers() | st.floats() | st.text() | st.datetimes(timezones=st.timezones()).map(str))
@example(253_402_300_799_999)
def test_whatever_is_a_date_can_be_a_filter(value: Any) -> None:
    try:
        at = parse_date(value)
    except ValueError as error:
        assert len(str(error)) < 200
        return
    if at is not None:
        for moment in (at, whole_second(at), whole_second(at) + 1000):
            assert len(format_date(moment)) >= len("1-01-01T00:00:00Z")


def test_a_long_text_in_a_date_s_place_is_not_quoted_in_full() -> None:
    with pytest.raises(ValueError, match="is not a date") as caught:
        parse_date("confidential " * 100)
    assert len(str(caught.value)) < 80


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(AT, "2024-02-05T07:17:16Z"), (AT + 7, "2024-02-05T07:17:16.007Z"), (0, "1970-01-01T00:00:00Z")],
)
def test_a_filter_s_date_is_iso_with_z(milliseconds: int, text: str) -> None:
    assert format_date(milliseconds) == text


@given(MOMENTS)
def test_a_sent_date_is_read_back(milliseconds: int) -> None:
    assert parse_date(format_date(milliseconds)) == milliseconds


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_an_offset_is_subtracted(moment: datetime, minutes: int) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    expected = round(moment.replace(tzinfo=UTC).timestamp() * 1000) - minutes * 60_000
    for colon in (":", ""):
        text = f"{moment.isoformat(timespec='milliseconds')}{sign}{hours:02d}{colon}{rest:02d}"
        assert parse_date(text) == expected


@given(MOMENTS)
def test_a_whole_second_is_the_second_s_start(milliseconds: int) -> None:
    start = whole_second(milliseconds)
    assert start % 1000 == 0
    assert 0 <= milliseconds - start < 1000
