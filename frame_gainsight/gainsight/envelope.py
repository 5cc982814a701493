"""The reply's envelope: rows out of every documented shape of success."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson

from frame_gainsight.gainsight.errors import TransientError

Row = dict[str, Any]

MAX_ROWS_GIVEN = 10_000  # of one reply, twice what is requested; a tenant that gives more does not heed the limit
MAX_NESTING = 100  # lists and objects in each other: JSON is written no deeper than 254

_FLAGS = {1: True, "1": True, "true": True, "yes": True, 0: False, "0": False, "false": False, "no": False}


class UnreadableRow(Row):
    """An item of a reply's list that is no row, in its place: it has no column.

    Attributes:
        cause: a sentence for people, which names the row as far as it is known.
    """

    __slots__ = ("cause",)

    KEY: ClassVar = "unreadable"
    MAX_TEXT: ClassVar = 256 * 1024  # bytes of its JSON that are kept

    def __init__(self, text: str, cause: str) -> None:
        super().__init__({self.KEY: text})
        self.cause = cause


def is_too_deep(value: Any) -> bool:
    """Whether a value of JSON has more than MAX_NESTING lists and objects in each other."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def rows_of(body: Any, object_name: str) -> list[Row]:
    """The rows of a successful reply: `data` is a list, or `{"records": [...]}`, or null.

    An item that is no row is an `UnreadableRow`.
    Raises TransientError for a body of any other shape: a proxy's page, or a reply cut short.
    """
    data = body.get("data") if isinstance(body, dict) else body
    if isinstance(data, dict):
        data = data.get("records")
    if data is None:
        return []
    if not isinstance(data, list):
        raise TransientError(f"The tenant's answer for {object_name} is not a list of rows.", status=200)
    if len(data) > MAX_ROWS_GIVEN:
        raise TransientError(
            f"The tenant's answer for {object_name} has {len(data):,} rows, and {MAX_ROWS_GIVEN // 2:,} are requested "
            "at the most. Ask the Gainsight admin why the query's limit is not heeded.",
            status=200,
        )
    return [row if isinstance(row, dict) and _NESTED.isdisjoint(map(type, row.values())) else _row(row) for row in data]


_NESTED = frozenset({dict, list})


def _row(item: Any) -> Row:
    """An item of a list of rows as a row: itself, or what is wrong with it."""
    if not isinstance(item, dict):
        kind = {str: "a text", list: "a list", type(None): "null", bool: "true or false"}.get(type(item), "a number")
        return UnreadableRow(_json(item), f"An item of the tenant's answer is no row but {kind}.")
    deep = [column for column, value in item.items() if is_too_deep(value)]
    if not deep:
        return item
    rest = {column: value for column, value in item.items() if column not in deep}
    gsid = value_of(item, "Gsid")
    of = f" of {gsid[:64]}" if isinstance(gsid, str) else ""
    cause = f"The row{of} cannot be read: {', '.join(deep)[:256]} is nested more than {MAX_NESTING} deep."
    return UnreadableRow(_json(rest), cause)


def _json(value: Any) -> str:
    """A value's JSON, as much of it as is kept."""
    if is_too_deep(value):
        return "…"
    return orjson.dumps(value)[: UnreadableRow.MAX_TEXT].decode("utf-8", "replace")


def refuse_repeated(page: list[Row], before: list[Row], object_name: str) -> None:
    """Raises TransientError for a page, requested by its offset, that is the one before: it would never end."""
    if page and page == before:
        raise TransientError(
            f"The tenant gives the same {len(page)} rows of {object_name} again where the next ones are requested. Ask "
            "the Gainsight admin why the query's offset is not heeded.",
            status=200,
        )


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
    if isinstance(row, UnreadableRow):
        return row
    by_lower = {path.lower(): path for path in paths}
    return {by_lower.get(key.lower(), key): value for key, value in row.items()}
