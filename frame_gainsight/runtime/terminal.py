"""What may go to a terminal: text of other people's, such as an email's, must not be able to steer it."""

from __future__ import annotations

import re

# C0 but newline and tab, DEL, C1, and what turns the direction of writing: marks, embeddings, overrides, isolates.
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def strip_control_characters(text: str) -> str:
    """The text without what a terminal would obey instead of showing."""
    return _STEERING.sub("", text)


def escaped(json: str) -> str:
    """JSON text of the same meaning, in which those characters are written as `\\uXXXX`."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
