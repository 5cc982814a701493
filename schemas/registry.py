"""Schema ids at a Confluent-compatible schema registry, asked once per schema."""

from __future__ import annotations

from typing import Protocol

from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.errors import RegistryError


class Registry(Protocol):
    """Gives ids to schemas and schemas to ids. May block; answers are cached by the caller."""

    def register(self, subject: str, text: str) -> int:
        """The id of this schema under the subject, registering it if it is new. Raises RegistryError."""

    def fetch(self, schema_id: int) -> str:
        """The schema with this id, as JSON text. Raises RegistryError."""


class ConfluentRegistry:
    """A registry behind the Confluent API (Confluent, Apicurio's ccompat, Karapace).

    Subjects are the records' full names (RecordNameStrategy), since the raw topic holds two kinds of records.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = SchemaRegistryClient({"url": url})

    def register(self, subject: str, text: str) -> int:
        try:
            return int(self._client.register_schema(subject, RegistrySchema(text, "AVRO")))
        except SchemaRegistryError as error:
            raise RegistryError(
                f"The schema registry refused '{subject}': {error.error_message}. "
                "If it says incompatible, an older version of this software is newer there: check what runs."
            ) from error
        except OSError as error:
            raise self._unreachable(error) from error

    def fetch(self, schema_id: int) -> str:
        try:
            text = self._client.get_schema(schema_id).schema_str
        except SchemaRegistryError as error:
            raise RegistryError(f"The schema registry has no schema {schema_id}: {error.error_message}.") from error
        except OSError as error:
            raise self._unreachable(error) from error
        if not text:
            raise RegistryError(f"The schema registry gave an empty schema for id {schema_id}.")
        return str(text)

    def _unreachable(self, error: OSError) -> RegistryError:
        return RegistryError(
            f"The schema registry at {self._url} (SCHEMA_REGISTRY_URL) cannot be reached: {error}. "
            "Check the address, or unset the variable to write Avro single-object encoding."
        )
