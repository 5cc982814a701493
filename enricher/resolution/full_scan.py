"""Objects that are read as a whole: whoever is in one costs no call any more, nor does whoever is not.

The first page costs no more than asking for some by value. What follows it is rented first and bought then: it is asked
for by value until that costs a few calls, and read on from there, unless the object has too many rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from enricher.resolution.entity_cache import GSID, Entity
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.gainsight import Query, Row, scan_from

log = structlog.get_logger(__name__)

WHOLE = "!whole"
RENT = 2  # calls by value, from which on the rest of an object is worth reading

UNCOUNTED = 2  # pages that are read before it is asked how many more there are: that is a call too


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far an object has been read: since when (milliseconds), how many rows, and up to which key.

    `ended`: as it seemed, nothing follows that key; `surely`: beyond doubt. `too_large`: it is not read on.
    """

    columns: tuple[str, ...]
    begun: int
    rows: int = 0
    last: str = ""
    ended: bool = False
    surely: bool = False
    too_large: bool = False

    def row(self) -> Row:
        names = ("begun", "rows", "last", "ended", "surely", "too_large")
        return {name: getattr(self, name) for name in names}

    @staticmethod
    def of(columns: tuple[str, ...], row: Row) -> ScanProgress:
        more = {name: row[name] for name in ("rows", "ended", "too_large") if name in row}
        return ScanProgress(columns, row["begun"], last=row["last"], surely=row["surely"], **({"ended": True} | more))


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """How an object is read: in the order of a column whose rows are kept together.

    Attributes:
        columns: with which it counts as read; `select` are those of the query.
        kept_as: the object that its answers are kept under.
    """

    name: str
    key: str
    columns: tuple[str, ...]
    select: tuple[str, ...]
    kept_as: str
    keep: Callable[[Sequence[Row]], None]


class FullScans:
    """What is read as a whole of one connector's tenant.

    Args:
        most: rows of an object that is; 0: none is.
    """

    def __init__(self, desk: TenantLookup, most: int) -> None:
        self._desk = desk
        self._most = min(most, desk.cache.most)
        self._told: set[str] = set()
        self._paid: Counter[str] = Counter()
        self._room: dict[str, int] = {}  # answers forgotten when the reading began
        self._read: dict[str, tuple[Entity, ScanProgress]] = {}  # notes, read out

    def state(self, reading: ScanSpec | None) -> ScanProgress | None:
        """How far it has been read, while that counts."""
        if reading is None:
            return None
        desk = self._desk
        entity = desk.cache.get(desk.key(WHOLE, "object", reading.name))
        if entity is None or not entity.rows:
            return None
        told = self._read.get(reading.name)
        if told is None or told[0] is not entity:
            told = self._read[reading.name] = entity, ScanProgress.of(entity.columns, entity.rows[0])
        state = told[1]
        old = desk.since is not None and desk.since - state.begun > desk.cache.ttl
        if old or not set(reading.columns) <= set(state.columns):
            return None
        if desk.cache.forgotten(desk.definition.id, reading.kept_as) > self._room.get(reading.name, 0):
            self._tell(reading.name)
            return replace(state, ended=False, surely=False, too_large=True)  # for the room that there is
        return state

    def _tell(self, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            log.warning(
                "memory_short",
                connector=self._desk.definition.id,
                object=name,
                hint="it is asked for by value, which costs more calls: raise FRAME_GAINSIGHT_ENTITIES_MAX",
            )

    def covers(self, reading: ScanSpec | None) -> bool:
        """Whether whoever is not known of the object is known to be absent."""
        state = self.state(reading)
        return state is not None and state.surely and not state.too_large

    def reaches(self, reading: ScanSpec | None, key: str) -> bool:
        """Whether everything with that key was read, so that what was changed since makes it complete."""
        state = self.state(reading)
        return state is not None and not state.too_large and (state.surely or key <= state.last)

    def forget(self, name: str) -> None:
        """The object has changed too much to follow: it is read anew when something is met that is not known."""
        self._desk.keep(WHOLE, "object", name, (), [])

    def give_up(self, reading: ScanSpec) -> None:
        """The object cannot be read as a whole."""
        self._keep(reading, ScanProgress(reading.columns, self._desk.clock.now(), too_large=True))

    def calls(self, name: str, values: Sequence[str]) -> int:
        """How many calls it takes to ask for these values of an object."""
        return -(-len(values) // self._desk.facts.chunking[name].size)

    def pay(self, name: str, values: Sequence[str]) -> None:
        """These values of an object are asked for."""
        self._paid[name] += self.calls(name, values)

    async def read_on(self, reading: ScanSpec, price: Callable[[], int], *, expected: int = 0) -> None:
        """Reads the first page, or what may follow, or the rest where that is worth it.

        Raises as `scan_from` does; what was read before an error is kept.

        Args:
            price: the calls that it takes to ask by value for what is not known at that moment.
            expected: rows that are worth reading without more ado, by what is known of it.
        """
        desk, state = self._desk, self.state(reading)
        if not self._most or (state is not None and (state.surely or state.too_large)):
            return
        more_follows = state is not None and not state.ended
        if state is None:
            state = ScanProgress(reading.columns, desk.clock.now())
            self._room[reading.name] = desk.cache.forgotten(desk.definition.id, reading.kept_as)
        pages, counted = 0, False
        while True:
            if more_follows and state.rows >= expected:
                if self._paid[reading.name] + price() < RENT:
                    break
                if pages >= UNCOUNTED and not counted:
                    counted = True
                    if await self._is_too_large(reading):
                        state = replace(state, too_large=True)
                        self._keep(reading, state)
                        break
            query = Query(reading.name, reading.select)
            part = await scan_from(desk.client, query, reading.key, desk.facts.proven, after=state.last)
            reading.keep(part.rows)
            rows = state.rows + len(part.rows)
            too_large = not part.exhausted and rows >= self._most
            state = replace(
                state, rows=rows, last=part.last, ended=part.exhausted, surely=part.confirmed, too_large=too_large
            )
            self._keep(reading, state)
            if part.exhausted or too_large:
                break
            pages += 1
            more_follows = part.full or pages > 1  # a page of round length may be the last one
        log.info("read_as_a_whole", connector=desk.definition.id, object=reading.name, **state.row())

    async def _is_too_large(self, reading: ScanSpec) -> bool:
        """One narrow question."""
        further = Query(reading.name, [GSID], order_by={GSID: "asc"}, limit=1, offset=self._most)
        return bool(await self._desk.client.query(further))

    def _keep(self, reading: ScanSpec, state: ScanProgress) -> None:
        self._desk.keep(WHOLE, "object", reading.name, state.columns, [state.row()])
