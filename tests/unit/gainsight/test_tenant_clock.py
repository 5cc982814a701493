"""The tenant's time, by the `Date` of its replies."""

from __future__ import annotations

from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.gainsight import (
    AccessKey,
    GainsightClient,
    HttpTransport,
)
from frame_gainsight.gainsight.rate_headers import http_date
from tests.unit.gainsight.conftest import NO_ROWS, FakeClock, FreeBudget


class Dated:
    """A tenant whose replies are dated by a clock that a test sets, and come after a given delay."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ahead = 0  # milliseconds that the tenant's clock is before ours
        self.latency = 0
        self.header: str | None = None

    def now(self) -> int:
        return self.clock.at + self.ahead

    def __call__(self, request: httpx.Request) -> httpx.Response:
        date = formatdate(self.now() // 1000, usegmt=True) if self.header is None else self.header
        self.clock.at += self.latency
        return httpx.Response(200, json={"result": True, "data": []}, headers={"Date": date} if date else {})


def dated(clock: FakeClock) -> tuple[Dated, GainsightClient]:
    tenant = Dated(clock)
    transport = httpx.MockTransport(tenant)
    return tenant, GainsightClient(
        HttpTransport("http://127.0.0.1:1", AccessKey("k"), FreeBudget(), clock, http=transport)
    )


async def test_before_any_reply_the_tenant_s_time_is_unknown(clock: FakeClock) -> None:
    _, client = dated(clock)
    assert client.tenant_now() is None
    assert client.clock_skew is None


@pytest.mark.parametrize("header", ["", "yesterday", "Mon, 99 Foo 2026 10:00:00 GMT"])
async def test_a_reply_without_a_readable_date_leaves_the_tenant_s_time_unknown(clock: FakeClock, header: str) -> None:
    tenant, client = dated(clock)
    tenant.header = header
    await client.query(NO_ROWS)
    assert client.tenant_now() is None
    assert client.calls == {"company": 1}


async def test_the_time_of_a_tenant_behind_us_is_its_own(clock: FakeClock) -> None:
    tenant, client = dated(clock)
    tenant.ahead = -90_000
    await client.query(NO_ROWS)
    clock.at += 30_000
    assert client.tenant_now() == tenant.now()


@pytest.mark.parametrize("ahead", [90_000, 240_000, 899_000])
async def test_the_time_of_a_tenant_ahead_of_us_is_its_own(clock: FakeClock, ahead: int) -> None:
    tenant, client = dated(clock)
    tenant.ahead = ahead
    await client.query(NO_ROWS)
    clock.at += 30_000
    assert client.tenant_now() == tenant.now()


@pytest.mark.parametrize("ahead", [901_000, 7_200_000, 10 * 365 * 86_400_000])
async def test_a_time_too_far_ahead_of_us_is_not_followed_at_all(clock: FakeClock, ahead: int) -> None:
    tenant, client = dated(clock)
    tenant.ahead = ahead
    await client.query(NO_ROWS)
    assert client.tenant_now() == clock.at
    assert client.clock_skew == ahead / 1000


async def test_one_date_that_is_ahead_of_the_others_leads_to_no_later_time(clock: FakeClock) -> None:
    """A window that ended there would miss the rows until then."""
    tenant, client = dated(clock)
    for tenant.ahead in (0, 0, 600_000):
        await client.query(NO_ROWS)
    assert client.tenant_now() == clock.at


async def test_a_clock_that_was_set_forward_is_followed_after_a_few_replies(clock: FakeClock) -> None:
    tenant, client = dated(clock)
    for tenant.ahead in (0, 240_000, 240_000, 240_000, 240_000):
        await client.query(NO_ROWS)
    assert client.tenant_now() == tenant.now()


HOSTILE = [
    "Mon, 01 Jan 2024 00:00:00 +9999999999999999",
    "Mon, 01 Jan 2024 00:00:00 -9999999999999999",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Mon, 01 Jan 99999999999 00:00:00 GMT",
    "Mon, 01 Jan " + "9" * 5000 + " 00:00:00 GMT",
    "Mon, 01 Jan 2024 99:99:99 GMT",
    "Mon, 32 Jan 2024 00:00:00 GMT",
    ",",
    "()",
]


@pytest.mark.parametrize("header", HOSTILE, ids=lambda text: text[:40])
async def test_a_date_that_cannot_be_counts_as_absent(clock: FakeClock, header: str) -> None:
    tenant, client = dated(clock)
    tenant.header = header
    await client.query(NO_ROWS)
    assert client.tenant_now() is None


@given(st.text(max_size=80) | st.from_regex(r"\A(Mon, )?\d+ Jan \d{1,12} \d+:\d+:\d+ [+-]?\w{1,20}\Z"))
def test_no_date_breaks_the_reading(text: str) -> None:
    date = http_date(text)
    assert date is None or abs(date) < 3e11


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 -0000",
    ],
)
def test_a_date_is_read_in_each_of_its_forms(text: str) -> None:
    assert http_date(text) == 784_111_777.0


STEP = st.tuples(
    st.integers(0, 5_000), st.integers(0, 3_000), st.sampled_from([0, 0, 0, -1, -400, -1400, -90_000, 700])
)


@given(st.integers(-100_000, 100_000), st.integers(0, 999), st.lists(STEP, min_size=1, max_size=8))
async def test_the_tenant_s_time_is_never_ahead_of_it_and_never_far_behind_it(
    ahead: int, phase: int, steps: list[tuple[int, int, int]]
) -> None:
    """Also when its clock is set back, by less than a second even, before a reply."""
    clock = FakeClock(1_772_445_600_000 + phase)
    tenant, client = dated(clock)
    tenant.ahead = ahead
    for waited, latency, stepped in steps:
        clock.at += waited
        tenant.ahead += stepped
        tenant.latency = latency
        await client.query(NO_ROWS)
        known = client.tenant_now()
        assert known is not None
        assert known <= tenant.now() + 1  # a float's rounding
        assert known > min(tenant.now(), clock.now()) - 1002 - latency
