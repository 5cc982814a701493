"""One connector's polls: window by window, page by page, each page in one transaction with its checkpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
import structlog
import xxhash

from bus import Outgoing
from connectors import Definition, needs
from gainsight import (
    Clock,
    Condition,
    ConfigError,
    GainsightClient,
    Query,
    Row,
    UnknownFieldError,
    UnknownObjectError,
    format_date,
    is_full,
    parse_date,
    value_of,
    whole_second,
)
from producer.checkpoint import Checkpoint, OpenPeriod
from producer.overlap import Overlap, Seen, Verdict, fingerprint
from producer.records import Records
from producer.timeline import Page, Position, read_pages
from producer.windows import Window, next_window

log = structlog.get_logger(__name__)

DESCRIBE_EVERY = 86_400.0  # seconds: field sets change rarely, and a describe is a call
DELETE_LOG = "record_delete_log"
DELETE_LOG_DAYS = 15  # it keeps no older entries

Write = Callable[[Sequence[Outgoing], Callable[[Sequence[int]], Sequence[Outgoing]]], Awaitable[list[int]]]
"""`LaneWriter.write`, awaited; the lane's transactions come one after the other."""


@dataclass(slots=True)
class PollResult:
    """What a poll did."""

    connector: str
    window: Window | None = None
    pages: int = 0
    rows: int = 0
    written: int = 0
    unchanged: int = 0
    dead: int = 0
    tombstones: int = 0


class Poller:
    """Polls one connector. Its lane's owner has restored `checkpoint` and `overlap`.

    After an error of the writer nothing of it may be used again: its state may be ahead of what was committed.
    """

    def __init__(
        self,
        definition: Definition,
        client: GainsightClient,
        records: Records,
        write: Write,
        clock: Clock,
        checkpoint: Checkpoint,
        overlap: Overlap,
    ) -> None:
        self.definition = definition
        self.checkpoint = checkpoint
        self.client = client
        self._records = records
        self._write = write
        self._clock = clock
        self._overlap = overlap
        self._select: list[str] = []
        self._refused: set[str] = set()  # columns that a describe shows and a query does not find
        self._described_at: float | None = None
        self._without_deletions = False

    async def poll(self) -> PollResult:
        """Reads the unfinished window, or the next one, and looks for deletions when it is time.

        Raises GainsightError (the next poll goes on where this one stopped), BrokerError, FencedError.
        """
        result = PollResult(self.definition.id)
        await self._describe()
        period = self.checkpoint.period or self._next_period()
        if period is not None:
            result.window = period.window
            await self._read(period, result)
        await self._look_for_deletions(result)
        log.info(
            "polled",
            connector=self.definition.id,
            window=str(result.window),
            rows=result.rows,
            written=result.written,
            unchanged=result.unchanged,
            tombstones=result.tombstones,
            dead=result.dead,
        )
        return result

    def _next_period(self) -> OpenPeriod | None:
        now = self.client.tenant_now()
        if now is None:
            raise ConfigError(
                f"{self.definition.host} sends no Date header: its clock, by which windows end, is unknown. "
                "Check that the host is the tenant's own address."
            )
        # Without a start on record the overlap has no bound: to begin at the cursor would mean to have none.
        beginning = int(self.definition.start.timestamp() * 1000) if self.definition.start else 0
        window = next_window(
            self.checkpoint.cursor,
            self.definition.overlap * 1000,
            min(beginning, self.checkpoint.cursor),
            now,
            int(self._records.settings.overlap_margin_seconds * 1000),
        )
        if window is None:
            return None
        # After the overlap was made longer, it grows from poll to poll: what lies before was forgotten, and reading
        # it again would write it again.
        window = Window(max(window.start, whole_second(self.checkpoint.remembered_from or 0)), window.end)
        return OpenPeriod(_poll_id(self.definition.id, window), window, Position(window.start))

    async def _describe(self) -> None:
        """Fetches the field list, now and then: one unknown name would fail every query."""
        now = self._clock.monotonic()
        if self._described_at is not None and now - self._described_at < DESCRIBE_EVERY:
            return
        described = (await self.client.describe([needs.ACTIVITY])).get(needs.ACTIVITY)
        if described is None:
            raise UnknownObjectError(
                f"The tenant does not describe {needs.ACTIVITY} to this key. Ask the Gainsight admin to let the key's "
                "owner read Timeline activities."
            )
        for column in needs.ACTIVITY_REQUIRED:
            if described.field(column) is None:
                raise UnknownFieldError(needs.ACTIVITY, column, None)
        for path in needs.mapped_columns(self.definition, needs.ACTIVITY):
            if "." not in path and described.field(path) is None:
                raise UnknownFieldError(needs.ACTIVITY, path, None)
        kept = {c.lower() for c in (*needs.ACTIVITY_REQUIRED, *needs.mapped_columns(self.definition, needs.ACTIVITY))}
        self._select = [
            column
            for column in needs.columns(self.definition, needs.ACTIVITY, described)
            if column.lower() in kept or column.lower() not in self._refused
        ]
        self._described_at = now

    async def _fetch(self, conditions: Sequence[Condition], order: Mapping[str, str], limit: int) -> list[Row]:
        where = list(conditions)
        if self.definition.activity_types:
            where.append(Condition("TypeName", "IN", list(self.definition.activity_types)))
        try:
            return await self.client.query(Query(needs.ACTIVITY, self._select, where, order, limit))
        except UnknownFieldError as error:
            self._described_at = None  # the field list has changed: describe again before the next try,
            if error.field:  # and do without the column, should the describe still show it
                self._refused.add(error.field.lower())
            raise

    async def _read(self, period: OpenPeriod, result: PollResult) -> None:
        limit = self._records.settings.page_rows
        async for page in read_pages(self._fetch, period.window, period.position, limit):
            period = await self._write_page(page, period, result)

    async def _write_page(self, page: Page, period: OpenPeriod, result: PollResult) -> OpenPeriod:
        """Writes what is new of a page and, in the same transaction, where to go on."""
        fetched_at = self._clock.now()
        last = page.next is None
        headers = self._records.headers(period, last)
        fresh: list[tuple[str, int, str]] = []
        outgoing: list[Outgoing] = []
        for activity in page.activities:
            print_ = fingerprint(activity)
            if self._overlap.verdict(activity, print_) is Verdict.WRITE:
                fresh.append((activity.gsid, activity.modified_at, print_))
                outgoing.append(self._records.activity(activity, print_, headers, fetched_at))
        dead = [r for r in page.unreadable if self._overlap.first_time(xxhash.xxh3_128_hexdigest(_content(r.row)))]
        following = replace(
            period,
            page=period.page + 1,
            written=period.written + len(fresh),
            position=page.next or period.position,
        )
        trailing = [self._records.dead_letter(row, headers, fetched_at) for row in dead]
        if last and following.written:
            outgoing.append(self._records.marker(following, headers, fetched_at))

        def checkpoint(offsets: Sequence[int]) -> Sequence[Outgoing]:
            for (gsid, modified_at, print_), offset in zip(fresh, offsets, strict=False):
                self._overlap.note(gsid, Seen(modified_at, print_, offset))
            self._advance(following, last, offsets[-1] + 1 if offsets else None)
            return [*trailing, self._records.checkpoint(self.checkpoint)]

        await self._write(outgoing, checkpoint)
        result.pages += 1
        result.rows += len(page.activities) + len(page.unreadable)
        result.written += len(fresh)
        result.unchanged += len(page.activities) - len(fresh)
        result.dead += len(dead)
        return following

    def _advance(self, period: OpenPeriod, last: bool, after: int | None) -> None:
        """Moves the checkpoint behind a page; `after` is the raw offset behind what was written."""
        overlap = self.definition.overlap * 1000
        cursor = period.window.end if last else self.checkpoint.cursor
        # What is read again: the rest of this window, and the next window's overlap.
        kept_from = period.window.end - overlap if last else min(period.position.at, period.window.end - overlap)
        self._overlap.forget(kept_from, self.checkpoint.deletions_cursor - overlap)
        self.checkpoint = replace(
            self.checkpoint,
            cursor=cursor,
            raw_offset=self._overlap.first_offset(after if after is not None else self.checkpoint.raw_offset),
            period=None if last else period,
            remembered_from=max(kept_from, self.checkpoint.remembered_from or 0),
        )

    async def _look_for_deletions(self, result: PollResult) -> None:
        """Writes a tombstone for every activity that the delete log names."""
        until = self.checkpoint.cursor
        since = self.checkpoint.deletions_cursor
        if self._without_deletions or until - since < self.definition.deletions_every * 1000:
            return
        oldest = until - DELETE_LOG_DAYS * 86_400_000
        window = Window(whole_second(max(since - self.definition.overlap * 1000, oldest, 0)), until)
        try:
            deleted = await self._deleted(window)
        except UnknownObjectError:
            self._without_deletions = True
            log.warning(
                "no_delete_log",
                connector=self.definition.id,
                hint=f"the tenant has no {DELETE_LOG}: deleted activities keep their conversations",
            )
            return
        fetched_at = self._clock.now()
        period = OpenPeriod(_poll_id(self.definition.id, window) + "!deletions", window, Position(window.start))
        headers = self._records.headers(period, last=True)
        known = self._overlap
        fresh = {g: at for g, at in deleted.items() if not known.is_deleted(g) and not known.outlives(g, at)}
        outgoing = [self._records.tombstone(gsid, at, headers, fetched_at) for gsid, at in fresh.items()]
        if fresh:
            outgoing.append(self._records.marker(replace(period, written=len(fresh)), headers, fetched_at))

        def checkpoint(offsets: Sequence[int]) -> Sequence[Outgoing]:
            for (gsid, at), offset in zip(fresh.items(), offsets, strict=False):
                self._overlap.note(gsid, Seen(at, None, offset))
            default = offsets[-1] + 1 if offsets else self.checkpoint.raw_offset
            self.checkpoint = replace(
                self.checkpoint, deletions_cursor=until, raw_offset=self._overlap.first_offset(default)
            )
            return [self._records.checkpoint(self.checkpoint)]

        await self._write(outgoing, checkpoint)
        result.tombstones += len(fresh)

    async def _deleted(self, window: Window) -> dict[str, int]:
        """Gsid → time of deletion (milliseconds) of the activities deleted in the window."""
        found: dict[str, int] = {}
        where = [
            Condition("DeletedOn", "GTE", [format_date(window.start)]),
            Condition("DeletedOn", "LT", [format_date(window.end)]),
            Condition("ObjectName", "EQ", [needs.ACTIVITY]),
        ]
        select = ["RecordId", "DeletedOn", "ObjectName"]
        offset = 0
        while True:
            query = Query(DELETE_LOG, select, where, {"DeletedOn": "asc", "RecordId": "asc"}, offset=offset)
            rows = await self.client.query(query)
            for row in rows:
                gsid = value_of(row, "RecordId")
                if isinstance(gsid, str) and gsid:
                    found[gsid] = _deleted_at(row, window)
            if not is_full(rows, query.limit):
                return found
            offset += len(rows)


def _deleted_at(row: Row, window: Window) -> int:
    """A deletion whose time does not read still counts, as of the window's end."""
    try:
        at = parse_date(value_of(row, "DeletedOn"))
    except ValueError:
        at = None
    return at if at is not None else window.end


def _poll_id(connector: str, window: Window) -> str:
    """Names a poll by what it reads, so that a poll that is taken up again keeps its name."""
    return f"{connector}@{format_date(window.start)}/{format_date(window.end)}"


def _content(row: Row) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
