"""The demo's producer: the real service in a thread of its own, on a clock that can be moved forward."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from types import TracebackType
from typing import Self

from frame_gainsight.connectors import KmsVault
from frame_gainsight.runtime import BrokerError, Settings, SystemClock
from producer import PollResult, ProducerContext, ProducerService
from schemas import Codec

POLL_SECONDS = 300.0  # that one poll may take


class ManualClock(SystemClock):
    """The machine's clock; its steady side can be moved forward, which ends the waits that end by then."""

    def __init__(self) -> None:
        self._moved = 0.0
        self._waiting: set[asyncio.Event] = set()

    def monotonic(self) -> float:
        return time.monotonic() + self._moved

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        moved = asyncio.Event()
        self._waiting.add(moved)
        try:
            while (left := until - self.monotonic()) > 0:
                moved.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(moved.wait(), left)
        finally:
            self._waiting.discard(moved)

    def advance(self, seconds: float) -> None:
        """Moves it forward; to be called in the event loop of those who wait."""
        self._moved += seconds
        for event in self._waiting:
            event.set()


class ManualClockProducer:
    """A producer that polls whenever its clock is moved past the period, and otherwise as time goes by."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._polls: queue.Queue[PollResult | BaseException] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._clock = ManualClock()
        self._service = ProducerService(
            ProducerContext(settings, codec, KmsVault(settings.kms_key_id), self._clock),
            on_poll=self._polls.put,
            on_failure=lambda connector, cause: self._polls.put(BrokerError(f"Polling '{connector}' failed: {cause}")),
        )
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._service.stop)
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def step(self, seconds: float) -> int:
        """Lets time pass for the producer, which polls then; returns how many records that wrote.

        Raises BrokerError with the cause when the poll failed.
        """
        if self._thread.ident is None:  # it polls as it starts
            self._thread.start()
        else:
            self._loop.call_soon_threadsafe(self._clock.advance, seconds)
        try:
            result = self._polls.get(timeout=POLL_SECONDS)
        except queue.Empty:
            raise BrokerError(f"A poll did not end within {POLL_SECONDS:.0f} s.") from None
        if isinstance(result, BaseException):
            raise result
        return result.written + result.tombstones

    def check(self) -> None:
        """Raises what the service ended with, if it did."""
        if not self._thread.is_alive():
            raise BrokerError("The producer ended by itself.")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._service.run())
        except Exception as error:  # noqa: BLE001 - the waiting thread raises it
            self._polls.put(error)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
