"""`dead-letters retry`: letters whose activity came out since are not tried again."""

from __future__ import annotations

import pytest

from frame_gainsight.cli.commands.dead_letters import Letter, Output, has_come_out


@pytest.mark.parametrize(
    ("version", "output", "come_out"),
    [
        (5, None, False),
        (5, Output(4, 900), False),
        (5, Output(5, 900), True),
        (5, Output(5, 100), False),
        (5, Output(5, 500), False),
        (5, Output(6, 100), True),
        (5, Output(None, 900), True),
        (5, Output(None, 100), False),
        (None, Output(5, 900), True),
        (None, Output(5, 100), False),
    ],
    ids=[
        "nothing came out",
        "an older version",
        "the same since",
        "the same before: by another mapping",
        "the same in that millisecond",
        "a newer version",
        "deleted since",
        "deleted before",
        "unreadable, and something since",
        "unreadable, and nothing since",
    ],
)
def test_a_retry_skips_what_came_out_since(version: int | None, output: Output | None, come_out: bool) -> None:
    letter = Letter("0:1", "acme", "G1", "Why.", 400, 500, "raw 0:0", b"")
    assert has_come_out(letter, version, output) is come_out
