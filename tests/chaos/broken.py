"""Workers that are broken on purpose: `python -m tests.chaos.broken WHICH` is one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from enricher import app
from enricher.consumer.transaction import TransactionalPublisher
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.runtime import load_settings

GAP_SECONDS = 0.4  # between the two commits, so that kills fall into it


def offsets_apart() -> None:
    """The position is committed after the transaction, and not in it.

    A lane's first batch is left whole: conversations without any position are what a worker refuses to go on from.
    """
    whole, begun = TransactionalPublisher.publish, set()

    async def publish(self: TransactionalPublisher, records: Sequence[ProducerRecord], after: int | None) -> None:
        if after is not None and self._tp not in begun:
            begun.add(self._tp)
            await whole(self, records, after)
            return
        await whole(self, records, None)
        if after is not None:
            await asyncio.sleep(GAP_SECONDS)
            await whole(self, [], after)

    TransactionalPublisher.publish = publish  # type: ignore[method-assign]


def offsets_first() -> None:
    """The position is committed before what it stands for."""
    whole = TransactionalPublisher.publish

    async def publish(self: TransactionalPublisher, records: Sequence[ProducerRecord], after: int | None) -> None:
        if after is not None:
            await whole(self, [], after)
            await asyncio.sleep(GAP_SECONDS)
        await whole(self, records, None)

    TransactionalPublisher.publish = publish  # type: ignore[method-assign]


BROKEN = {f.__name__: f for f in (offsets_apart, offsets_first)}


def main() -> int:
    BROKEN[sys.argv[1]]()
    return app.run(load_settings())


if __name__ == "__main__":
    sys.exit(main())
