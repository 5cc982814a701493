"""The errors of the schemas; every text says what happened and what to do next."""

from __future__ import annotations


class SchemaError(Exception):
    """Root of every error that this package raises."""


class EncodeError(SchemaError):
    """A value does not fit its schema."""


class DecodeError(SchemaError):
    """Bytes are no record of these schemas, or of one that this version does not know."""


class RegistryError(SchemaError):
    """The schema registry could not be reached or refused."""


class UnknownSchemaError(RegistryError):
    """The schema registry has no schema with this id: bytes that name it are no record of these schemas."""
