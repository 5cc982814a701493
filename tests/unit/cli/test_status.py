"""`status`: every number and id of a connector, at every width."""

from __future__ import annotations

import io

import pytest

from frame_gainsight.cli.commands import status
from frame_gainsight.cli.operations.connector_status import ConnectorStatus, Services
from frame_gainsight.cli.output import HarmlessConsole

HOSTILE = "we[i]rd-and-rather-a-long-name"
FOUND = [
    ConnectorStatus(
        HOSTILE, "unreadable", 7200.0, 60.0, 123_456, True, 12_345, 25_000, 50_000, 1_234, 12, "It does not read."
    ),
    ConnectorStatus("acme", "active", None, None, 0, False, 0, 25_000, 50_000, 0, 0, ""),
]


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_the_table_has_every_number_and_every_id_at_every_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(status, "answers", HarmlessConsole(width=width, file=out, soft_wrap=True))
    monkeypatch.setattr(status, "notes", HarmlessConsole(file=io.StringIO()))
    for name in ("load_settings", "require", "codec_for"):
        monkeypatch.setattr(status, name, lambda *_: FakeSettings())
    monkeypatch.setattr(status, "connector_statuses", lambda *_: (FOUND, Services(1, 1)))
    with pytest.raises(status.typer.Exit):
        status.status(None, False)
    shown = out.getvalue()
    lines = shown[: shown.index(f"{HOSTILE}:")].splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in shown
    for text in (*status.HEADINGS[1:], "123,456+", "1,234", "12,345 of 25,000", "2 h ago", "unreadable", "never"):
        assert text in shown, text
    assert f"{HOSTILE}: It does not read." in shown
    assert HOSTILE in "".join("".join(line[:12] if width == 80 else line for line in lines).split())


class FakeSettings:
    schema_registry_url = None
