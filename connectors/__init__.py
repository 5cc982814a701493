"""What a customer's connector is: its definition, mapping, registry, sealed API key, and checks against its tenant."""

from connectors import needs
from connectors.check import Finding, check
from connectors.definition import CustomObject, Definition, parse_canonical, parse_yaml
from connectors.errors import ConnectorError, DefinitionError, UnknownConnectorError, VaultError
from connectors.paths import Path
from connectors.register import Registration, register
from connectors.registry import Connector, Registry, apply, lanes_of
from connectors.tenant import open_client
from connectors.vault import KmsVault, Sealed, Vault

__all__ = [
    "Connector",
    "ConnectorError",
    "CustomObject",
    "Definition",
    "DefinitionError",
    "Finding",
    "KmsVault",
    "Path",
    "Registration",
    "Registry",
    "Sealed",
    "UnknownConnectorError",
    "Vault",
    "VaultError",
    "apply",
    "check",
    "lanes_of",
    "needs",
    "open_client",
    "parse_canonical",
    "parse_yaml",
    "register",
]
