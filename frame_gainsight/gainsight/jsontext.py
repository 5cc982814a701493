"""JSON as tenants write it: text that was cut in the middle of a character among it."""

from __future__ import annotations

import re
from typing import Any

import orjson

# An escape: a pair of surrogates, one that stands alone, or any other.
_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


def loads(content: bytes | bytearray) -> Any:
    """The value. Halves of characters and bytes that are no UTF-8 become U+FFFD: without them a row, and with it all
    that follow, could never be read. (Bodies are cut at 131,072 UTF-16 units, which may halve an emoji.)

    Raises orjson.JSONDecodeError.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        text = content.decode("utf-8", "replace")
        mended = _ESCAPES.sub(lambda found: r"\ufffd" if found[1] else found[0], text)
        return orjson.loads(mended)
