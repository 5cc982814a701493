"""Delete logs of any length are read to where memory allows, and on from there."""

from __future__ import annotations

from itertools import count

import pytest

from frame_gainsight.gainsight import TransientError, delete_log, parse_date
from frame_gainsight.gainsight.delete_log import SOURCES, deleted_in, deleted_records
from tests.unit.gainsight.conftest import opened
from tests.unit.gainsight.served import Request, Served


async def test_a_delete_log_is_read_in_parts_where_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete_log, "MOST_AT_ONCE", 2000)
    deleted = [{"RecordId": f"{n}", "DeletedOn": (10 + n // 700) * 1000} for n in range(5000)]

    def answer(request: Request) -> None:
        asked = request.body
        since = parse_date(next(c["value"][0] for c in asked["where"]["conditions"] if c["operator"] == "GTE"))
        rows = [row for row in deleted if since is not None and row["DeletedOn"] >= since]  # type: ignore[operator]
        request.json({"result": True, "data": rows[asked["offset"] :][: asked["limit"]]})

    with Served(answer) as server:
        async with opened(server.url) as client:
            found: dict[str, int] = {}
            known, readings = 0, 0
            while known < 60_000:
                before = known
                start = max(0, known - 5_000)  # the overlap alone has more than is read in one go
                named, known = await deleted_in(client, SOURCES[0], start, 60_000, known_until=known)
                assert known > before
                found |= named
                readings += 1
    assert found == {row["RecordId"]: row["DeletedOn"] for row in deleted}
    assert readings == 4


async def test_a_delete_log_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete_log, "MOST_ENTRIES", 3000)
    numbers = count()

    def answer(request: Request) -> None:
        rows = [{"RecordId": f"{next(numbers)}", "DeletedOn": 10**13, "ObjectName": "company"} for _ in range(1000)]
        request.json({"result": True, "data": rows})

    with Served(answer) as server:
        async with opened(server.url) as client:
            with pytest.raises(TransientError, match="more than 3,000 entries of record_delete_log at once"):
                await deleted_in(client, SOURCES[0], 0, 60_000)
            with pytest.raises(TransientError, match="more than 3,000 entries"):
                await deleted_records(client, SOURCES[0], 0, 60_000, ["company"])
