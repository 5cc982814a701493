"""The size of the timeline's pages, without a tenant."""

from __future__ import annotations

from producer.polling.page_size import PAGE_BYTES, PageEnd, PageSize


def test_end_of_compares_a_page_with_the_longest_before_it() -> None:
    size = PageSize(5000)
    assert size.end_of(0, 5000) is PageEnd.LAST
    assert size.end_of(49, 5000) is PageEnd.LAST
    assert size.end_of(120, 5000) is PageEnd.MAY_BE_CAPPED
    assert size.end_of(119, 5000) is PageEnd.LAST
    assert size.end_of(120, 5000) is PageEnd.LIKELY_CAPPED
    assert size.end_of(121, 5000) is PageEnd.MAY_BE_CAPPED
    assert size.end_of(7, 7) is PageEnd.FULL
    assert PageSize(5000, 120).end_of(119, 5000) is PageEnd.LAST


def test_limit_follows_the_bytes_of_the_rows() -> None:
    size = PageSize(5000)
    assert size.limit() == 5000
    size.received(5000, 5000 * 40_000)
    assert size.limit() == int(0.75 * PAGE_BYTES / 40_000)
    size.too_large(1000)
    assert size.limit() == 500
    for _ in range(40):
        size.received(size.limit(), size.limit() * 1000)
    assert size.limit() == 5000
    size.received(0, 10**9)
    assert size.limit() == 5000, "an empty page says nothing"
