"""Text for a terminal: that of other people, such as an email's, must not be able to steer it, nor to begin a line."""

from __future__ import annotations

import re

# C0 but newline and tab, DEL, C1, the separators of lines and paragraphs, and marks, embeddings, overrides and
# isolates, which turn the direction of writing.
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BREAKS = re.compile("[ \t]*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029][\\s]*")


def strip_control_characters(text: str) -> str:
    """The text without the characters that a terminal would obey instead of showing; line feeds and tabs stay."""
    return _STEERING.sub("", text)


def one_line(text: str) -> str:
    """The text in one line, a space for every break of a line, and without those characters."""
    return _STEERING.sub("", _BREAKS.sub(" ", text))


def escaped(json: str) -> str:
    """JSON text of the same meaning, with those characters written as `\\uXXXX`."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
