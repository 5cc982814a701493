"""The errors of the schemas; every text says what happened and what to do next."""

from __future__ import annotations


class SchemaError(Exception):
    """Root of every error that this room raises."""


class EncodeError(SchemaError):
    """A value does not fit its schema."""


class DecodeError(SchemaError):
    """Bytes are not a record of ours, or of a schema that this version does not know."""


class RegistryError(SchemaError):
    """The schema registry could not be reached or refused."""


class UnknownSchemaError(RegistryError):
    """The schema registry has no schema with this id: whatever names it is no record of ours."""
