"""What a customer's connector is: its definition, mapping, registry, sealed API key, and checks against its tenant."""

from connectors import needs
from connectors.check import check
from connectors.definition import CustomObject, Definition, parse_canonical, parse_yaml
from connectors.errors import (
    ChangedMeanwhileError,
    ConnectorError,
    DefinitionError,
    MissingSecretError,
    SecretError,
    UnknownConnectorError,
    UnreadableConnectorError,
    VaultError,
    VaultUnavailableError,
)
from connectors.findings import Finding
from connectors.paths import Path
from connectors.register import Line, Registration, register, rotate
from connectors.registry import Connector, Registry, apply, lanes_of
from connectors.secret import Secret
from connectors.selection import Selection
from connectors.tenant import open_client
from connectors.vault import DataKeys, KmsVault, Sealed, Vault

__all__ = [
    "ChangedMeanwhileError",
    "Connector",
    "ConnectorError",
    "CustomObject",
    "DataKeys",
    "Definition",
    "DefinitionError",
    "Finding",
    "KmsVault",
    "Line",
    "MissingSecretError",
    "Path",
    "Registration",
    "Registry",
    "Sealed",
    "Secret",
    "SecretError",
    "Selection",
    "UnknownConnectorError",
    "UnreadableConnectorError",
    "Vault",
    "VaultError",
    "VaultUnavailableError",
    "apply",
    "check",
    "lanes_of",
    "needs",
    "open_client",
    "parse_canonical",
    "parse_yaml",
    "register",
    "rotate",
]
