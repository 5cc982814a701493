"""Keys of the checkpoints topic: a connector's id for its checkpoint; for other records more, behind a slash."""

from __future__ import annotations

BACKFILL = "backfill/"
"""The part of a backfill's key before its id."""
POLL_FAILURE = "!trouble"


def format_key(connector: str, part: str = "") -> bytes:
    """The key of a part, such as `acme/backfill/spring`; without one, the checkpoint's."""
    return f"{connector}/{part}".encode() if part else connector.encode()


def parse_key(key: bytes | None) -> tuple[str, str]:
    """The connector and the part. Parts that this package does not know are other services' records."""
    connector, _, part = (key or b"").decode("utf-8", "replace").partition("/")
    return connector, part
