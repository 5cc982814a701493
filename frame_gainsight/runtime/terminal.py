"""Text for a terminal: that of other people, such as an email's, must not be able to steer it."""

from __future__ import annotations

import re

# C0 but newline and tab, DEL, C1, and marks, embeddings, overrides and isolates, which turn the direction of writing.
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def strip_control_characters(text: str) -> str:
    """The text without the characters that a terminal would obey instead of showing."""
    return _STEERING.sub("", text)


def escaped(json: str) -> str:
    """JSON text of the same meaning, with those characters written as `\\uXXXX`."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
