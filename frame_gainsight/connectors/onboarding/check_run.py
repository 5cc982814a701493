"""One check of a tenant: its bound of calls, the objects that the tenant shows, and the findings so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.connectors.onboarding.findings import Finding, owner, words_for
from frame_gainsight.gainsight import (
    CallsSpentError,
    GainsightClient,
    GainsightError,
    Listed,
    ObjectDescription,
    ThrottledError,
)


@dataclass(slots=True)
class CheckRun:
    """The state that the parts of one check share.

    Attributes:
        listed: the tenant's objects by name, in lower case; None where the tenant gives no list.
        described: the descriptions of the definition's objects, and of those that its look-ups lead to.
        findings: in the order in which one would read them.
    """

    client: GainsightClient
    definition: Definition
    max_calls: int
    listed: Mapping[str, Listed] | None = None
    described: dict[str, ObjectDescription] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _throttled: bool = False

    @property
    def oauth(self) -> bool:
        return self.client.has_oauth_client

    @property
    def calls_left(self) -> int:
        return 0 if self._throttled else self.max_calls - sum(self.client.calls.values())

    @property
    def not_requested(self) -> str:
        """Why a need was not looked at."""
        if self._throttled:
            return "not requested: the allowance is used up"
        return f"not requested, to stay within {self.max_calls} calls"

    def note_throttling(self, error: GainsightError) -> None:
        self._throttled = self._throttled or isinstance(error, ThrottledError)

    def is_readable(self, name: str) -> bool:
        """Whether the list has the object as readable; without a list, queries will show it."""
        if self.listed is None:
            return True
        listed = self.listed.get(name.lower())
        return listed is not None and listed.readable

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)

    def add_failure(self, need: str, name: str, error: GainsightError) -> None:
        """Adds the finding of a call about an object that failed."""
        if isinstance(error, CallsSpentError):
            self.add(Finding(need, "unknown", self.not_requested))
        else:
            self.add(Finding(need, "failed", str(error), words_for(error, [name], self.oauth)))

    def hidden(self, name: str, path: str, evidence: str) -> Finding:
        """The finding of a field that the tenant does not show."""
        ask = f"Please check that '{path}' exists on '{name}' and is visible to {owner(self.oauth)}."
        return Finding(f"field {name}.{path}", "failed", evidence, ask)

    def amend(self, name: str, column: str, finding: Finding) -> bool:
        """Replaces a field's finding, unless that has failed already; returns whether the field has one."""
        need = f"field {name}.{column}".lower()
        for number, known in enumerate(self.findings):
            if known.need.lower() == need:
                if known.state == "ok":
                    self.findings[number] = replace(finding, need=known.need)
                return True
        return False
