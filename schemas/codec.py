"""Values to bytes and back: Avro single-object encoding, or Confluent's format where a registry is set."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import fastavro

from schemas.catalogue import Catalogue, Schema, catalogue, parse
from schemas.errors import DecodeError, EncodeError, RegistryError, SchemaError, UnknownSchemaError
from schemas.foreign import require_bounded
from schemas.registry import ConfluentRegistry, Registry

SINGLE_OBJECT = b"\xc3\x01"  # Avro specification, "Single-object encoding"; 8 bytes of fingerprint follow
CONFLUENT = b"\x00"  # Confluent wire format; a 4-byte big-endian schema id follows
_CONFLUENT_PREFIX = struct.Struct(">bI")
_LAST_SCHEMA_ID = 2**31 - 1  # registries count in signed integers

Value = dict[str, Any]


class Decoded(NamedTuple):
    """A value and the short name of its record."""

    record: str
    value: Value


class Codec:
    """A codec that writes one wire format and reads both, whatever version of the schemas wrote them.

    Args:
        registry: where schema ids come from; None: write single-object encoding, and refuse to read ids.
        schemas: the schemas to know; default: all that were ever shipped.
    """

    def __init__(self, registry: Registry | None = None, schemas: Catalogue | None = None) -> None:
        self._registry = registry
        self._schemas = schemas or catalogue()
        self._prefixes: dict[str, bytes] = {}
        self._writers_by_id: dict[int, tuple[Schema, Any]] = {}
        self._refused_by_id: dict[int, str] = {}  # why

    def encode(self, record: str, value: Value) -> bytes:
        """A value as bytes. Raises EncodeError naming the record, RegistryError when the registry does not answer."""
        schema = self._schemas.today(record)
        out = BytesIO()
        out.write(self._prefix(schema))
        try:
            fastavro.schemaless_writer(out, schema.parsed, value)
        except Exception as error:  # whatever fastavro raises for a value of another shape
            raise EncodeError(f"This {record} does not fit its schema: {words(error)}") from error
        return out.getvalue()

    def decode(self, data: bytes) -> Decoded:
        """The value of bytes in either wire format, by today's schema. Raises DecodeError, RegistryError."""
        if data[:2] == SINGLE_OBJECT and len(data) < 10:
            raise DecodeError(f"The value ends after {len(data)} bytes, within the fingerprint of its schema.")
        if data[:2] == SINGLE_OBJECT:
            known = self._schemas.by_fingerprint(data[2:10])
            if known is None:
                raise DecodeError(
                    f"The value has an Avro fingerprint ({data[2:10].hex()}) that this version does not know. "
                    "A newer version wrote it, or something else did: update, or look at who writes to the topic."
                )
            reader, writer, start = self._schemas.today(known.record), known.parsed, 10
        elif data[:1] == CONFLUENT and len(data) >= _CONFLUENT_PREFIX.size:
            reader, writer = self._by_id(_CONFLUENT_PREFIX.unpack_from(data)[1])
            start = _CONFLUENT_PREFIX.size
        else:
            raise DecodeError(
                f"The value begins with {data[:4].hex() or 'nothing'}: neither Avro single-object encoding (c301) "
                "nor Confluent's wire format (00). Look at who writes to the topic."
            )
        body = BytesIO(data)
        body.seek(start)
        try:
            value = fastavro.schemaless_reader(body, writer, None if writer is reader.parsed else reader.parsed)
        except fastavro.read.SchemaResolutionError as error:
            raise DecodeError(f"The {reader.record} was written by a schema that cannot be read: {error}") from error
        except Exception as error:  # whatever fastavro raises: the bytes may be anybody's
            raise DecodeError(f"The {reader.record} is damaged: {words(error)}") from error
        if body.tell() != len(data):
            raise DecodeError(f"The {reader.record} has {len(data) - body.tell()} bytes too many.")
        if not isinstance(value, dict):
            raise DecodeError(f"The value is a {type(value).__name__}, not a record.")
        return Decoded(reader.record, value)

    def decode_as(self, record: str, data: bytes) -> Value:
        """The value as by `decode`, of a topic that holds one kind of record only."""
        decoded = self.decode(data)
        if decoded.record != record:
            raise DecodeError(f"Expected a {record}, found a {decoded.record}. Look at who writes to the topic.")
        return decoded.value

    def _prefix(self, schema: Schema) -> bytes:
        prefix = self._prefixes.get(schema.record)
        if prefix is None:
            if self._registry is None:
                prefix = SINGLE_OBJECT + schema.fingerprint
            else:
                prefix = _CONFLUENT_PREFIX.pack(0, self._registry.register(schema.full_name, schema.text))
            self._prefixes[schema.record] = prefix
        return prefix

    def _by_id(self, schema_id: int) -> tuple[Schema, Any]:
        found = self._writers_by_id.get(schema_id)
        if found is None:
            if self._registry is None:
                raise DecodeError(
                    f"The value names schema {schema_id} of a registry: set SCHEMA_REGISTRY_URL to read it."
                )
            if schema_id > _LAST_SCHEMA_ID:
                raise DecodeError(f"The value names schema {schema_id}, and no registry has one of that number.")
            if schema_id in self._refused_by_id:
                raise DecodeError(self._refused_by_id[schema_id])
            try:
                text = self._registry.fetch(schema_id)
            except UnknownSchemaError as error:
                raise DecodeError(f"{error} Look at who writes to the topic.") from error
            except RegistryError:
                raise
            except Exception as error:  # whatever its client raises for an answer of another shape
                raise DecodeError(
                    f"What the registry answers for schema {schema_id} is not a schema: {words(error)}"
                ) from error
            try:
                found = self._writers_by_id[schema_id] = self._writer(schema_id, text)
            except DecodeError as error:  # a registry never gives the same number to another schema
                self._refused_by_id[schema_id] = str(error)
                raise
        return found

    def _writer(self, schema_id: int, text: str) -> tuple[Schema, Any]:
        """Today's schema, and the registered one to read by. Raises DecodeError."""
        try:
            writer = parse(text)
        except Exception as error:  # whatever fastavro raises: the text may be anybody's
            raise DecodeError(
                f"Schema {schema_id} of the registry is not an Avro schema. Look at who writes to the topic."
            ) from error
        name = writer.get("name", "?") if isinstance(writer, dict) else "?"
        reader = self._schemas.by_full_name(name)
        if reader is None:
            raise DecodeError(f"Schema {schema_id} of the registry is '{name}', which is not one of ours.")
        try:
            require_bounded(writer)
        except SchemaError as error:
            raise DecodeError(
                f"Schema {schema_id} of the registry is not one to read by: it {error}. "
                "Look at who writes to the topic."
            ) from error
        return reader, writer


@contextmanager
def taken_apart(record: str) -> Iterator[None]:
    """Whatever is raised while a decoded value is taken apart becomes a DecodeError: Avro says nothing of what is in
    its texts and numbers, and the bytes may be anybody's."""
    try:
        yield
    except SchemaError:
        raise
    except Exception as error:
        raise DecodeError(f"The {record} is damaged: {words(error)}") from error


def words(error: Exception, most: int = 300) -> str:
    """An error's text, of at most so many characters; its type's name where it has none."""
    text = str(error) or type(error).__name__
    return text if len(text) <= most else text[:most] + "…"


def codec_for(registry_url: str | None) -> Codec:
    """The codec for the wire format that is set: Confluent's with a registry, else single-object encoding."""
    return Codec(ConfluentRegistry(registry_url) if registry_url else None)
