"""Records of the connectors topic: what each of them makes of the connectors that are known."""

from __future__ import annotations

import structlog

from frame_gainsight.connectors import Connector, Definition, Sealed, apply
from frame_gainsight.connectors.registry import encode_connector
from frame_gainsight.kafka import ConsumedRecord
from schemas import Codec

CODEC = Codec()


def connector(id_: str) -> Connector:
    definition = Definition.model_validate({"id": id_, "host": f"https://{id_}.gainsightcloud.com"})
    return Connector(definition, Sealed("kms", b"sealed", "arn"), "ACTIVE", 0, 0)


def record(key: bytes | None, value: bytes | None) -> ConsumedRecord:
    return ConsumedRecord("gainsight.connectors", 0, 7, key, value, ())


def test_a_definition_counts_under_its_own_id() -> None:
    known: dict[str, Connector] = {}
    assert apply(CODEC, known, record(b"acme", encode_connector(CODEC, connector("acme")))) == "acme"
    assert known == {"acme": connector("acme")}


def test_a_definition_under_another_key_is_unreadable_and_changes_nothing() -> None:
    acme = connector("acme")
    value = encode_connector(CODEC, connector("globex"))
    for key in (b"acme", b"acme ", b"GLOBEX", b"globex\xff", b"", None, b"k" * 100_000):
        known = {"acme": acme}
        with structlog.testing.capture_logs() as logs:
            assert apply(CODEC, known, record(key, value)) is None
        assert known == {"acme": acme}
        (entry,) = logs
        assert entry["event"] == "definition_unreadable"
        assert "its definition is that of 'globex'" in entry["cause"] and len(entry["cause"]) < 500
