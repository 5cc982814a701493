"""Random records for the topics that the services read: bytes, JSON, and valid Avro whose values nobody would write."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import orjson

from frame_gainsight.connectors.columns import required
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.kafka.records import Headers
from schemas import Codec, EncodeError
from schemas.catalogue import catalogue
from schemas.raw_topic import COLUMNS, CONNECTOR, DELETED_AT, LAST_PAGE, PAGE, PERIOD_END, PERIOD_START, POLL_ID
from tests.fixtures.samples import CONNECTOR as ACME
from tests.fixtures.samples import SAMPLES

CODEC = Codec()
TEXTS = (
    "", " ", "\0", "a\nb", "/", "!period", "../..", "{}", "null", "nan", "1e400", "²", "\u202e", "\ufffd", "ß" * 300,
    "🔑", "x" * 70_000, "<a@b>", "a@", "@", "a@b.example, " * 50, "'; --", "%s%n", "1796035138000", "9" * 400,
    "-1", "true", "2026-11-30T10:00:00Z", "10000-01-01T00:00:00Z", "<p>" * 3000, "&#x110000;", "a" * 255 + "@b.example",
)  # fmt: skip
LONGS = (0, 1, -1, 2**63 - 1, -(2**63), 10**15, -(10**15), 253_402_300_800_000, -62_135_596_800_001, 1_796_035_138_000)
INTS = (0, 1, -1, 2**31 - 1, -(2**31), 7)
DOUBLES = (0.0, -0.0, 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 5e-324)
NAMES = (CONNECTOR, PERIOD_START, PERIOD_END, POLL_ID, PAGE, LAST_PAGE, COLUMNS, DELETED_AT, "ce_id", "", "x" * 1000)
CONNECTORS = ("acme", "acme", "acme", "ghost", "!", "ACME", "a" * 65, "ä")


class Fuzz:
    """A source of random records; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def text(self) -> str:
        random = self._random
        if random.random() < 0.6:
            return random.choice(TEXTS)
        return "".join(
            chr(random.choice((random.randrange(1, 128), random.randrange(0x80, 0xD800))))
            for _ in range(random.randrange(30))
        )

    def blob(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 2, 9, 10, 11, 50, 400)))

    def json(self, depth: int = 0) -> Any:
        """Any JSON value."""
        random = self._random
        kind = random.randrange(9 if depth < 4 else 6)
        if kind < 6:
            return (
                None,
                random.random() < 0.5,
                random.choice(LONGS),
                random.choice(DOUBLES),
                self.text(),
                random.random(),
            )[kind]
        if kind == 6:
            return [self.json(depth + 1) for _ in range(random.randrange(4))]
        return {self.text()[:50]: self.json(depth + 1) for _ in range(random.randrange(4))}

    def row(self) -> Any:
        """A row with the timeline's columns, whose values are any JSON; now and then no row at all."""
        random = self._random
        if random.random() < 0.1:
            return self.json()
        columns = [
            *required.ACTIVITY_COLUMNS,
            *required.ACTIVITY_LOOKUPS,
            "GsCompanyId__gr.Name",
            "Ant__Sentiment__c",
            self.text()[:60],
        ]
        return {column: self.json() for column in random.sample(columns, random.randrange(1, len(columns)))}

    def row_text(self) -> str:
        """A row's JSON; now and then it is deep, or no JSON."""
        random = self._random
        if random.random() < 0.1:
            depth = random.choice((200, 300, 1000, 5000, 100_000))
            opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
            return '{"Subject":' + opening * depth + ("1" if closing == "}" else "") + closing * depth + "}"
        if random.random() < 0.1:
            return self.text()
        return orjson.dumps(self.row()).decode()

    def of_schema(self, schema: Any, name: str = "") -> Any:
        """A value that the schema allows, and no sane writer would write."""
        random = self._random
        if isinstance(schema, list):
            return self.of_schema(random.choice(schema), name)
        if isinstance(schema, dict):
            kind = schema["type"]
            if kind == "record":
                return {f["name"]: self.of_schema(f["type"], f["name"]) for f in schema["fields"]}
            if kind == "array":
                return [self.of_schema(schema["items"], name) for _ in range(random.choice((0, 1, 3)))]
            if kind == "map":
                return {
                    self.text()[:40]: self.of_schema(schema["values"], name) for _ in range(random.choice((0, 1, 3)))
                }
            if kind == "enum":
                return random.choice(schema["symbols"])
            return self.of_schema(kind, name)
        if name == "connector":
            return random.choice(CONNECTORS)
        if name == "row":
            return self.row_text()
        if name == "rows":
            return orjson.dumps(random.choice((self.json(), [self.row() for _ in range(3)]))).decode()
        if name == "definition":
            return self._definition()
        choices = {
            "null": (None,), "boolean": (True, False), "int": INTS, "long": LONGS, "float": DOUBLES, "double": DOUBLES,
        }.get(schema)  # fmt: skip
        if choices is not None:
            return random.choice(choices)
        return self.blob() if schema == "bytes" else self.text()

    def _definition(self) -> str:
        """A definition's JSON, one of whose fields is another; now and then no definition."""
        if self._random.random() < 0.1:
            return self.row_text()
        given = orjson.loads(ACME.definition.canonical())
        for _ in range(self._random.randrange(3)):
            given[self._random.choice([*given, self.text()[:40]])] = self.json()
        return orjson.dumps(given).decode()

    def value(self, record: str) -> bytes | None:
        """What a record of that kind may have for a value."""
        random = self._random
        chance = random.random()
        if chance < 0.05:
            return None
        if chance < 0.15:
            return self.blob()
        if chance < 0.2:
            return orjson.dumps(self.json())
        if chance < 0.25:
            record = random.choice(catalogue().records)
        right = self._encoded(record)
        if chance < 0.3:
            return right[: random.randrange(len(right) + 1)]
        if chance < 0.35:
            return right + self.blob()
        if chance < 0.45:
            damaged = bytearray(right)
            for _ in range(random.randrange(1, 4)):
                damaged[random.randrange(len(damaged))] = random.randrange(256)
            return bytes(damaged)
        if chance < 0.48:
            return right[:10] + struct.pack(">q", random.choice(LONGS)) + right[10:]
        return right

    def _encoded(self, record: str) -> bytes:
        """A value whose fields are a sample's, or of the schema's types alone."""
        schema = catalogue().today(record).parsed
        made = self.of_schema(schema)
        sample = SAMPLES.get(record)
        if sample is not None and self._random.random() < 0.7:
            kept = self._random.choice((1, 2, len(sample)))
            made = {**sample, **{name: made[name] for name in self._random.sample(sorted(made), min(kept, len(made)))}}
        try:
            return CODEC.encode(record, made)
        except EncodeError:
            return CODEC.encode(record, sample) if sample is not None else b""

    def headers(self) -> Headers:
        random = self._random
        made: list[tuple[str, Any]] = []
        for _ in range(random.choice((0, 0, 1, 3, 40))):
            made.append(
                (
                    random.choice(NAMES),
                    random.choice((None, b"", self.blob(), self.text().encode(), "²".encode(), b"-5")),
                )
            )
        return tuple(made)

    def key(self, number: int, part: str = "") -> bytes | None:
        """A key of the raw topic's form (`part` "": `<connector>/<Gsid>`), or of another topic's; mostly."""
        random = self._random
        if random.random() < 0.15:
            return random.choice(
                (None, b"", b"acme", b"acme/", b"/x", b"acme/!period", b"\xff\xfe/x", self.blob(), self.text().encode())
            )
        return f"{random.choice(CONNECTORS)}/{part}{number}".encode()

    def record(self, kind: str, topic: str, number: int, part: str = "") -> ConsumedRecord:
        """One record, at that offset."""
        timestamp = self._random.choice((0, -1, 1_796_035_138_000, 2**62))
        return ConsumedRecord(topic, 0, number, self.key(number, part), self.value(kind), self.headers(), timestamp)
