"""Schema ids at a Confluent-compatible schema registry."""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

import httpx2
from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.errors import RegistryError, UnknownSchemaError


class Registry(Protocol):
    """A registry that gives ids to schemas and schemas to ids. Calls may block; the caller caches their results."""

    def register(self, subject: str, text: str) -> int:
        """The id of this schema under the subject, registering it if it is new. Raises RegistryError."""

    def fetch(self, schema_id: int) -> str:
        """The schema with this id, as JSON text. Raises RegistryError; UnknownSchemaError when there is none."""


class ConfluentRegistry:
    """A registry behind the Confluent API (Confluent, Apicurio's ccompat, Karapace).

    Subjects are the records' full names (RecordNameStrategy), since the raw topic holds two kinds of records.
    """

    def __init__(self, url: str) -> None:
        self._url = _without_password(url)
        try:
            self._client = SchemaRegistryClient({"url": url, "timeout": 10, "max.retries": 2, "retries.wait.ms": 200})
        except ValueError as error:
            raise RegistryError(
                f"'{self._url}' (SCHEMA_REGISTRY_URL) is not an address; write it as http://host:8081."
            ) from error

    def register(self, subject: str, text: str) -> int:
        try:
            return int(self._client.register_schema(subject, RegistrySchema(text, "AVRO")))
        except SchemaRegistryError as error:
            raise RegistryError(
                f"The schema registry refused '{subject}': {error.error_message}. "
                "If it says incompatible, an older version of this software is newer there: check what runs."
            ) from error
        except (OSError, httpx2.HTTPError) as error:
            raise self._unreachable(error) from error

    def fetch(self, schema_id: int) -> str:
        try:
            text = self._client.get_schema(schema_id).schema_str
        except SchemaRegistryError as error:
            if error.http_status_code == HTTPStatus.NOT_FOUND:
                raise UnknownSchemaError(f"The schema registry has no schema {schema_id}.") from error
            raise RegistryError(
                f"The schema registry did not give schema {schema_id}: {error.error_message}."
            ) from error
        except (OSError, httpx2.HTTPError) as error:
            raise self._unreachable(error) from error
        if not text:
            raise RegistryError(f"The schema registry gave an empty schema for id {schema_id}.")
        return str(text)

    def _unreachable(self, error: Exception) -> RegistryError:
        return RegistryError(
            f"The schema registry at {self._url} (SCHEMA_REGISTRY_URL) cannot be reached: {error}. "
            "Check the address, or unset the variable to write Avro single-object encoding."
        )


def _without_password(url: str) -> str:
    """The address without user and password, as it may be shown."""
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    return url.replace(login + at, "", 1) if at else url
