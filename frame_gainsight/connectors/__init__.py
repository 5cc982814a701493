"""Customers' connectors: their definitions, mapping, registry, sealed API keys, and checks against their tenants."""

from frame_gainsight.connectors.client_factory import open_client
from frame_gainsight.connectors.columns.timeline_selection import Selection
from frame_gainsight.connectors.definition.model import CustomObject, Definition
from frame_gainsight.connectors.definition.paths import Path
from frame_gainsight.connectors.definition.yaml_file import parse_canonical, parse_yaml
from frame_gainsight.connectors.errors import (
    ChangedMeanwhileError,
    ConnectorError,
    DefinitionError,
    MissingSecretError,
    SecretError,
    StartAheadError,
    UnknownConnectorError,
    UnreadableConnectorError,
    VaultError,
    VaultUnavailableError,
)
from frame_gainsight.connectors.onboarding.check import check
from frame_gainsight.connectors.onboarding.findings import Finding
from frame_gainsight.connectors.onboarding.register import ClientOptions, Registration, register, rotate
from frame_gainsight.connectors.registry import Connector, Registry, apply
from frame_gainsight.connectors.secrets.secret import Secret
from frame_gainsight.connectors.secrets.vault import DataKeys, KmsVault, Sealed, Vault

__all__ = [
    "ChangedMeanwhileError",
    "ClientOptions",
    "Connector",
    "ConnectorError",
    "CustomObject",
    "DataKeys",
    "Definition",
    "DefinitionError",
    "Finding",
    "KmsVault",
    "MissingSecretError",
    "Path",
    "Registration",
    "Registry",
    "Sealed",
    "Secret",
    "SecretError",
    "Selection",
    "StartAheadError",
    "UnknownConnectorError",
    "UnreadableConnectorError",
    "Vault",
    "VaultError",
    "VaultUnavailableError",
    "apply",
    "check",
    "open_client",
    "parse_canonical",
    "parse_yaml",
    "register",
    "rotate",
]
