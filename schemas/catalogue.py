"""Every Avro schema of the project: today's, and each one ever shipped, found by its fingerprint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.errors import SchemaError

FINGERPRINT = "CRC-64-AVRO"


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """One version of one record.

    Attributes:
        record: short name, such as ``conversation``; also the name of its file.
        full_name: Avro full name, such as ``ai.frame.gainsight.Conversation``.
        text: the schema as shipped, JSON text.
        fingerprint: CRC-64-AVRO of the Parsing Canonical Form, 8 bytes little-endian, as single-object encoding
            wants it (Avro specification, "Single-object encoding").
        parsed: the schema as fastavro takes it; timestamps stay integers (milliseconds).
    """

    record: str
    full_name: str
    text: str
    fingerprint: bytes
    parsed: Any


class Catalogue:
    """Today's schemas by record name, and all that were ever shipped by fingerprint."""

    def __init__(self, today: dict[str, str], history: list[tuple[str, str]]) -> None:
        self._today = {record: _schema(record, text) for record, text in today.items()}
        self._by_fingerprint = {s.fingerprint: s for s in (_schema(record, text) for record, text in history)}
        self._by_fingerprint |= {s.fingerprint: s for s in self._today.values()}
        self._by_full_name = {s.full_name: s for s in self._today.values()}

    @property
    def records(self) -> list[str]:
        return sorted(self._today)

    def today(self, record: str) -> Schema:
        """The schema that is written today. Raises SchemaError for an unknown record."""
        try:
            return self._today[record]
        except KeyError:
            raise SchemaError(f"There is no schema '{record}'; there are: {', '.join(self.records)}.") from None

    def by_fingerprint(self, value: bytes) -> Schema | None:
        """The version that has this fingerprint, if it was ever shipped."""
        return self._by_fingerprint.get(value)

    def by_full_name(self, full_name: str) -> Schema | None:
        """Today's version of the record with this Avro full name."""
        return self._by_full_name.get(full_name)


def parse(text: str) -> Any:
    """A schema as fastavro takes it, without logical types: on the hot path a timestamp is an integer."""
    return fastavro.parse_schema(_without_logical_types(json.loads(text)))


def _schema(record: str, text: str) -> Schema:
    canonical = to_parsing_canonical_form(json.loads(text))
    crc = bytes.fromhex(fingerprint(canonical, FINGERPRINT))
    parsed = parse(text)
    return Schema(record, parsed["name"], text, crc[::-1] if _BIG_ENDIAN else crc, parsed)


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_logical_types(v) for k, v in node.items() if k != "logicalType"}
    if isinstance(node, list):
        return [_without_logical_types(item) for item in node]
    return node


# fastavro prints the CRC's bytes in the order in which single-object encoding writes them; were that ever to change,
# the known fingerprint of "string", 8f014872634503c7 as a number, would show it.
_BIG_ENDIAN = fingerprint('"string"', FINGERPRINT) == "8f014872634503c7"


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The schemas shipped with this version, read once."""
    folder = resources.files("schemas")
    today = {p.name.removesuffix(".avsc"): p.read_text() for p in folder.iterdir() if p.name.endswith(".avsc")}
    history = (folder / "history").iterdir()
    shipped = [(p.name.split(".")[0], p.read_text()) for p in history if p.name.endswith(".avsc")]
    return Catalogue(today, shipped)
