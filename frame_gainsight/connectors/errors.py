"""The errors of connectors; every text says what is wrong, where, and what to do."""

from __future__ import annotations


class ConnectorError(Exception):
    """Root of every error that this package raises; holds no secret."""


class DefinitionError(ConnectorError):
    """A definition does not read, or has a value that cannot be."""


class SecretError(ConnectorError):
    """A text is no API access key, and no OAuth client."""


class MissingSecretError(ConnectorError):
    """A definition came without an API key, and none is stored that could be used."""


class VaultError(ConnectorError):
    """KMS could not encrypt or decrypt an API key."""


class VaultUnavailableError(VaultError):
    """KMS does not answer now; trying again helps."""


class UnknownConnectorError(ConnectorError):
    """No connector has this id."""

    def __init__(self, connector: str, known: list[str]) -> None:
        listed = ", ".join(sorted(known)) or "none yet"
        super().__init__(
            f"There is no connector '{connector}'. Registered: {listed}. Add one: frame-gainsight connector add FILE"
        )


class UnreadableConnectorError(ConnectorError):
    """The definition of this id does not read."""

    def __init__(self, connector: str, cause: str) -> None:
        super().__init__(
            f"The definition of '{connector}' does not read: {cause} "
            f"Add it again: connector add FILE. Or take it out: connector remove {connector}"
        )


class StartAheadError(ConnectorError):
    """A connector's start lies in the future, by our clock and by its tenant's: there is nothing to read yet.

    Attributes:
        seconds: until it begins, by the later of the two clocks.
    """

    def __init__(self, start: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"Its start is {start}, which is in the future: nothing is read before that moment. If another date was "
            "meant, correct `start` in its definition and add it again (connector add FILE); it takes effect at once."
        )


class ChangedMeanwhileError(ConnectorError):
    """A connector was changed while a command was about to change it."""
