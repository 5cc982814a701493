"""The reply's envelope: rows out of every documented shape of success."""

from __future__ import annotations

from typing import Any

from frame_gainsight.gainsight.errors import TransientError

Row = dict[str, Any]

_FLAGS = {1: True, "1": True, "true": True, "yes": True, 0: False, "0": False, "false": False, "no": False}


def rows_of(body: Any, object_name: str) -> list[Row]:
    """The rows of a successful reply: `data` is a list, or `{"records": [...]}`, or null.

    Raises TransientError for a body of any other shape: a proxy's page, or a reply cut short.
    """
    data = body.get("data") if isinstance(body, dict) else body
    if isinstance(data, dict):
        data = data.get("records")
    if data is None:
        return []
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise TransientError(f"The tenant's answer for {object_name} is not a list of rows.", status=200)
    return data


def value_of(row: Row, path: str) -> Any:
    """A row's value by the requested path. Keys come back as requested, or in another case; absent is None."""
    if path in row:
        return row[path]
    wanted = path.lower()
    return next((value for key, value in row.items() if key.lower() == wanted), None)


def parse_flag(value: Any) -> bool | None:
    """A reply's boolean, written as `true`, `"true"`, `"Yes"`, `1` or `"1"`; None for null, "" and all else."""
    form = value.strip().lower() if isinstance(value, str) else value
    return _FLAGS.get(form) if isinstance(form, int | float | str) else None


def normalised(row: Row, paths: list[str]) -> Row:
    """The row with its keys spelled as requested; unrequested keys are kept as they are."""
    by_lower = {path.lower(): path for path in paths}
    return {by_lower.get(key.lower(), key): value for key, value in row.items()}
