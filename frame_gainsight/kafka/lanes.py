"""A lane is a partition number: everything of one tenant has the same one in every topic."""

from __future__ import annotations

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=100_000)
def lane_of(connector: str, partitions: int) -> int:
    """The lane of a connector: Java's default partitioner over its id (`murmur2(key) & 0x7fffffff mod n`).

    Every record is written to its partition explicitly, because the clients' default partitioners differ.
    """
    return int((murmur2(connector.encode()) & 0x7FFFFFFF) % partitions)
