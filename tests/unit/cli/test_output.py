"""Output at a terminal: nothing that steers it, every word of an error, and the count of a body's hidden lines."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from frame_gainsight.cli import output
from frame_gainsight.cli.output import HarmlessConsole, sample
from frame_gainsight.runtime.terminal import escaped, strip_control_characters

EVIL = "\x1b[2J\x1b]0;pwned\x07\x9b31m\x7f\u202egnp.exe\u2066:warning:"
STEERING = set(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x202A, 0x202E, 0x2066, 0x2069, 0x200F, 0x61C]))


def console(width: int = 80, **options: Any) -> tuple[HarmlessConsole, io.StringIO]:
    out = io.StringIO()
    return HarmlessConsole(file=out, width=width, **options), out


def conversation(**changes: Any) -> dict[str, Any]:
    return {
        "participants": [
            {"email": "a@b.example", "name": EVIL, "role": "customer", "user_id": "1", "profile": {"t": EVIL}}
        ],
        "account": {"name": EVIL, "profile": {EVIL: EVIL}},
        "relationship": {"name": EVIL},
        "tags": [{"name": EVIL, "value": EVIL}],
        "body_text": EVIL,
        "subject": EVIL,
        "occurred_at": 0,
        "version": 0,
    } | changes


def test_a_conversation_cannot_steer_the_terminal() -> None:
    screen, out = console(soft_wrap=True)
    screen.print(sample(conversation()))
    shown = out.getvalue()
    assert not STEERING & set(shown)
    assert shown.count("gnp.exe:warning:") >= 6
    assert {len(line) for line in shown.splitlines()} == {80}, "the frame holds"


def test_tables_lines_and_progress_bars_cannot_steer_the_terminal() -> None:
    screen, out = console()
    table = Table("a", title=EVIL)
    table.add_row(EVIL)
    screen.print(table)
    screen.print(EVIL, markup=False)
    with Progress(console=screen) as progress:
        progress.add_task(EVIL)
    assert not STEERING & set(out.getvalue())


def test_rich_s_own_colours_and_spinners_reach_the_terminal() -> None:
    screen, out = console(force_terminal=True, color_system="standard")
    screen.print("[bold red]Error[/]")
    with screen.status("waiting"):
        pass
    assert "\x1b[1;31mError\x1b[0m" in out.getvalue() and "\x1b[?25l" in out.getvalue()


def test_printed_json_decodes_to_its_value_and_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, out = console(soft_wrap=True)
    monkeypatch.setattr(output, "answers", screen)
    output.print_json({"subject": EVIL, "smile": ":smile: Grüße"})
    assert json.loads(out.getvalue()) == {"subject": EVIL, "smile": ":smile: Grüße"}
    assert not STEERING & set(out.getvalue())
    assert out.getvalue().count("\n") == 1


def test_readable_text_stays_and_control_characters_go() -> None:
    text = "Grüße\n\tab 日本語 👩‍👩‍👧 مرحبا"
    assert strip_control_characters(text) == escaped(text) == text
    assert not STEERING & set(strip_control_characters("".join(STEERING)))
    assert escaped("a\u202eb") == r"a\u202eb"


def test_logs_at_a_terminal_cannot_steer_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import structlog

    from frame_gainsight.runtime import logging as logs

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    before = logging.getLogger().handlers[:], logging.getLogger().level, structlog.get_config()
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    try:
        logs.set_up_logging("INFO")
        structlog.get_logger().warning("refused", cause=EVIL)
        logging.getLogger("theirs").warning(EVIL)
    finally:
        logging.getLogger().handlers[:] = before[0]
        logging.getLogger().setLevel(before[1])
        structlog.configure(**before[2])
    assert terminal.getvalue().count("gnp.exe") == 2
    assert "\x1b[2J" not in terminal.getvalue() and "\u202e" not in terminal.getvalue()


def test_a_long_body_is_wrapped_and_its_hidden_lines_are_counted() -> None:
    long = " ".join(f"word{number}" for number in range(40))
    screen, out = console(40, soft_wrap=True)
    screen.print(sample(conversation(body_text="\n\n".join([long, *map(str, range(12))]))))
    shown = " ".join(line.strip("│ ") for line in out.getvalue().splitlines())
    assert long in shown
    assert f"… {len(Text(long).wrap(screen, 36))} more lines" in shown, "12 are shown, and there are 12 besides"
    screen, out = console(100, soft_wrap=True)
    screen.print(sample(conversation(body_text="one\ntwo")))
    assert "more line" not in out.getvalue()


@pytest.mark.parametrize("width", [40, 80])
def test_an_error_is_wrapped_at_blanks_and_keeps_every_word(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    out = io.StringIO()
    monkeypatch.setattr(output, "notes", Console(file=out, width=width))
    text = "acme.yaml is not valid: " + "a word or two and more of them [not markup] " * 5
    assert output.fail(ValueError(text)) == output.FAILED
    assert out.getvalue().split() == ["Error", *text.split()], "no word is broken"
    assert max(map(len, out.getvalue().splitlines())) <= width
