"""Circuit breaker: for each connector, whether its tenant may be called.

A connector's circuit is closed while its calls succeed. A failure opens the circuit: no call is made until a pause is
over, a longer one after each failure in a row. The circuit is half-open then: one trial closes it or opens it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from frame_gainsight.connectors import Connector
from frame_gainsight.runtime import Clock, Failure
from frame_gainsight.runtime.backoff import Backoff

PAUSES = Backoff(first=2.0, longest=300.0, jitter=0.2)
RECENT_SECONDS = 600.0  # after its circuit closed, for which a connector's next failure is expected


@dataclass(slots=True)
class OpenCircuit:
    """Why no call is made for a connector, since its last success.

    Attributes:
        seen: the connector as it was when it failed; None: it was not registered.
        failures: in a row.
        until: when it may be tried again (seconds of a steady clock); infinity: not before it has changed.
    """

    failure: Failure
    cause: str
    seen: Connector | None
    failures: int = 0
    until: float = 0.0


class CircuitBreaker:
    """The circuits of a lane's connectors.

    Args:
        pauses: after the n-th failure in a row.
    """

    def __init__(self, clock: Clock, pauses: Backoff = PAUSES) -> None:
        self._clock = clock
        self._pauses = pauses
        self._open: dict[str, OpenCircuit] = {}
        self._closed_at: dict[str, float] = {}

    def circuit(self, connector: str) -> OpenCircuit | None:
        """The connector's circuit while it is open or half-open; None: it is closed."""
        return self._open.get(connector)

    def open_circuits(self) -> dict[str, OpenCircuit]:
        """The connectors whose circuit is open or half-open."""
        return dict(self._open)

    def failed(self, connector: str, failure: Failure, cause: str, seen: Connector | None) -> None:
        """Opens the circuit, for a longer pause each time."""
        circuit = self._open.setdefault(connector, OpenCircuit(failure, cause, seen))
        circuit.failure, circuit.cause, circuit.seen = failure, cause, seen
        circuit.failures += 1
        if circuit.until < math.inf:
            circuit.until = self._clock.monotonic() + self._pauses.seconds(circuit.failures)

    def stop(self, connector: Connector, cause: str) -> None:
        """Opens the circuit until the connector has changed."""
        self._open[connector.id] = OpenCircuit(Failure.CONFIG, cause, connector, until=math.inf)

    def recovered(self, connector: str) -> None:
        """Closes the circuit after a success."""
        if self._open.pop(connector, None) is not None:
            self._closed_at[connector] = self._clock.monotonic()

    def close_changed(self, current: Callable[[str], Connector | None]) -> list[str]:
        """Closes the circuits of connectors whose definition, key or state has changed since; returns their ids."""
        changed = [connector for connector, circuit in self._open.items() if current(connector) != circuit.seen]
        for connector in changed:
            del self._open[connector]
            self._closed_at.pop(connector, None)
        return changed

    def recently_failed(self, connector: str) -> bool:
        """Whether the connector's circuit was open a short time ago."""
        closed_at = self._closed_at.get(connector)
        return closed_at is not None and self._clock.monotonic() - closed_at < RECENT_SECONDS

    def due(self, connectors: Iterable[str]) -> list[str]:
        """Those of the connectors that may be tried: circuit closed or half-open, the longest half-open first."""
        until = {connector: self._open[connector].until if connector in self._open else 0.0 for connector in connectors}
        now = self._clock.monotonic()
        return sorted((c for c in until if until[c] <= now), key=lambda c: (until[c], c))
