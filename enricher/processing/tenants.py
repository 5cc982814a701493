"""The enricher's view of the registered connectors, followed from their topic, and a client for each tenant."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from frame_gainsight.connectors import Connector, Vault, apply, open_client
from frame_gainsight.gainsight import GainsightClient
from frame_gainsight.kafka import consumed_record, reader
from frame_gainsight.runtime import Clock, Settings
from schemas import Codec

log = structlog.get_logger(__name__)

RETIRED_SECONDS = 900.0  # longer than any work with a client that was replaced meanwhile


class ConnectorDirectory:
    """Every registered connector, as of now; a thread of its own follows the topic."""

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

        Raises what the following thread failed with.
        """
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()
        self._known.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def get(self, connector: str) -> Connector | None:
        """The connector. Raises what the following thread failed with, rather than answering from the past."""
        if self._failure is not None:
            raise self._failure
        return self._connectors.get(connector)

    def ids(self) -> list[str]:
        """Every registered connector."""
        return list(self._connectors)

    def _follow(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._known.set()

    def _read(self) -> None:
        topic, partitions = self._settings.connectors_topic, range(self._settings.partitions)
        consumer = reader(self._settings)
        try:
            consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
            unread = set(partitions)
            while not self._stopping.is_set():
                for message in consumer.consume(500, 0.5):
                    error = message.error()
                    if error is None:
                        apply(self._codec, self._connectors, consumed_record(message))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(message.partition() or 0)
                    else:
                        log.warning("connectors_topic", cause=error.str())
                if not unread:
                    self._known.set()
        finally:
            consumer.close()


class ClientPool:
    """A client per connector, made when it is first needed, anew when the definition or the key has changed."""

    def __init__(self, settings: Settings, vault: Vault, clock: Clock) -> None:
        self._settings = settings
        self._vault = vault
        self._clock = clock
        self._open: dict[str, tuple[Connector, GainsightClient]] = {}
        self._retired: list[tuple[float, GainsightClient]] = []
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # one's KMS call delays nobody else's

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        """Raises VaultError when the key cannot be decrypted.

        Args:
            spent_today: its calls in an earlier process.
        """
        async with self._opening[connector.id]:
            known = self._open.get(connector.id)
            if known is not None and known[0] == connector:
                return known[1]
            spent = known[1].spent if known is not None else spent_today
            client = await open_client(
                self._settings, self._vault, self._clock, connector, role="enricher", spent_today=spent
            )
            self._open[connector.id] = (connector, client)
            if known is not None:
                self._retired.append((self._clock.monotonic(), known[1]))
        await self._close_retired()
        return client

    def in_use(self) -> list[tuple[str, GainsightClient]]:
        """The connectors' clients."""
        return [(connector, client) for connector, (_, client) in self._open.items()]

    async def _close_retired(self) -> None:
        """Closes those replaced long ago: a batch or a retry may still be asking with a later one."""
        before = self._clock.monotonic() - RETIRED_SECONDS
        old = [client for at, client in self._retired if at < before]
        self._retired = [(at, client) for at, client in self._retired if at >= before]
        for client in old:
            await client.close()

    async def close(self) -> None:
        for client in [*(c for _, c in self._open.values()), *(c for _, c in self._retired)]:
            await client.close()
        self._open.clear()
        self._retired.clear()
