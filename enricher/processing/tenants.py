"""Tenants: the registered connectors, followed from their topic, and a client for each of them."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing

from enricher.processing.unexpected import OF_ALL, unexpected
from frame_gainsight.connectors import Connector, Vault, apply, open_client
from frame_gainsight.gainsight import GainsightClient, ReplySlots
from frame_gainsight.kafka import ConsumedRecord, PartitionEnd, follow
from frame_gainsight.runtime import BrokerError, Clock, Settings
from schemas import Codec
from schemas.raw_topic import connector_of

RETIRED_SECONDS = 900.0  # until a replaced client is closed: longer than any work with it


class ConnectorDirectory:
    """The registered connectors as they are now: a thread of its own follows their topic."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._connectors: dict[str, Connector] = {}
        self._starting = threading.Lock()
        self._known = threading.Event()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, name="connectors", daemon=True)

    def start(self) -> None:
        """Returns when every connector registered so far is known. May be called again, by any thread.

        Raises as `get` does.
        """
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()
        self._known.wait()
        self._check()

    def stop(self) -> None:
        """Stops following."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def get(self, connector: str) -> Connector | None:
        """The connector, if it is registered. Raises an error of all connectors when they are not followed any more."""
        self._check()
        return self._connectors.get(connector)

    def ids(self) -> list[str]:
        """The ids of all registered connectors."""
        return list(self._connectors)

    def _check(self) -> None:
        """Raises what the following thread failed with; what nobody foresaw as an error of all connectors, too."""
        if self._failure is None:
            return
        if isinstance(self._failure, OF_ALL):
            raise self._failure
        raise BrokerError(
            f"The topic of connectors is not read any more: an unexpected {type(self._failure).__name__}. "
            "Start the worker again, and please report it."
        ) from self._failure

    def _follow(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._known.set()

    def _read(self) -> None:
        unread = set(range(self._settings.partitions))
        with closing(follow(self._settings, self._settings.connectors_topic, unread, timeout=0.5)) as news:
            for item in news:
                if self._stopping.is_set():
                    return
                if isinstance(item, ConsumedRecord):
                    self._take(item)
                elif isinstance(item, PartitionEnd):
                    unread.discard(item.partition)
                    if not unread:
                        self._known.set()

    def _take(self, record: ConsumedRecord) -> None:
        """Applies a record of the topic; one that nobody foresaw changes nothing."""
        try:
            apply(self._codec, self._connectors, record)
        except OF_ALL:
            raise
        except Exception as error:  # noqa: BLE001 - it costs this definition
            unexpected(error, "a definition was read", connector=connector_of(record.key), offset=record.offset)


class FixedConnectors(ConnectorDirectory):
    """Connectors as they were at one moment: a directory without a topic to follow."""

    def __init__(self, connectors: Mapping[str, Connector]) -> None:
        self._connectors = dict(connectors)
        self._failure = None

    def start(self) -> None:
        """All connectors are known already."""

    def stop(self) -> None:
        """Nothing is followed."""


class ClientPool:
    """A client for each connector: made when first needed, and again when the definition or the key has changed."""

    def __init__(self, settings: Settings, vault: Vault, clock: Clock) -> None:
        self._settings = settings
        self._vault = vault
        self._clock = clock
        self._reply_slots = ReplySlots()
        self._open: dict[str, tuple[Connector, GainsightClient]] = {}
        self._retired: list[tuple[float, GainsightClient]] = []
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(
            asyncio.Lock
        )  # a KMS call delays no other connector

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        """The connector's client. Raises VaultError when its key cannot be decrypted.

        Args:
            spent_today: (day, calls) of an earlier process.
        """
        async with self._opening[connector.id]:
            known = self._open.get(connector.id)
            if known is not None and known[0] == connector:
                return known[1]
            spent = known[1].spent if known is not None else spent_today
            client = await open_client(
                self._settings,
                self._vault,
                self._clock,
                connector,
                role="enricher",
                spent_today=spent,
                reply_slots=self._reply_slots,
            )
            self._open[connector.id] = (connector, client)
            if known is not None:
                self._retired.append((self._clock.monotonic(), known[1]))
        await self._close_retired()
        return client

    def in_use(self) -> list[tuple[str, GainsightClient]]:
        """The open clients, each with its connector's id."""
        return [(connector, client) for connector, (_, client) in self._open.items()]

    async def _close_retired(self) -> None:
        """Closes the clients replaced long ago: a batch or a retry may still use one replaced since."""
        before = self._clock.monotonic() - RETIRED_SECONDS
        old = [client for at, client in self._retired if at < before]
        self._retired = [(at, client) for at, client in self._retired if at >= before]
        for client in old:
            await client.close()

    async def close(self) -> None:
        """Closes all clients."""
        for client in [*(c for _, c in self._open.values()), *(c for _, c in self._retired)]:
            await client.close()
        self._open.clear()
        self._retired.clear()
