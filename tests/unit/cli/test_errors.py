"""What is said when something is wrong: every word of it, to be read at any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from frame_gainsight.cli import output


@pytest.mark.parametrize("width", [40, 80])
def test_an_error_is_wrapped_at_blanks(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    out = io.StringIO()
    monkeypatch.setattr(output, "notes", Console(file=out, width=width))
    text = "acme.yaml is not valid: " + "a word or two and more of them [not markup] " * 5
    assert output.fail(ValueError(text)) == output.FAILED
    assert out.getvalue().split() == ["Error", *text.split()], "no word is broken"
    assert max(map(len, out.getvalue().splitlines())) <= width
