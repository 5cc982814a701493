"""Avro schemas of every topic's value, and the codec that reads and writes them in both wire formats."""

from schemas.catalogue import Catalogue, Schema, catalogue
from schemas.codec import Codec, Decoded, codec_for, taken_apart, words
from schemas.errors import DecodeError, EncodeError, RegistryError, SchemaError
from schemas.registry import ConfluentRegistry, Registry

__all__ = [
    "Catalogue",
    "Codec",
    "ConfluentRegistry",
    "DecodeError",
    "Decoded",
    "EncodeError",
    "Registry",
    "RegistryError",
    "Schema",
    "SchemaError",
    "catalogue",
    "codec_for",
    "taken_apart",
    "words",
]
