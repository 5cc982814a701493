"""The JSON of a reply, decoded within bounds of time and memory; one item that cannot be read costs that item.

A strict parse of the whole comes first. Where it fails, or where the values of a large body might take too much
memory, the items of the list in `data` are read one by one; this is slower and gives the same values.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
from collections.abc import Sequence, Set
from contextlib import suppress
from itertools import count
from typing import Any

import orjson

from frame_gainsight.gainsight.envelope import MAX_ROWS_GIVEN, UnreadableRow, is_too_deep, value_of
from frame_gainsight.gainsight.errors import RefusedQueryError, ReplyTooLargeError

SMALL_BYTES = 1024 * 1024
QUICK_VALUES = 50_000
MAX_ITEMS = 100_000
MAX_ITEM_BYTES = 16 * 1024 * 1024  # twice what a record may have
MAX_ITEM_VALUES = 100_000
_TOO_LARGE = f"it has more than {MAX_ITEM_BYTES:,} bytes"
MAX_VALUES_BYTES = 160 * 1024 * 1024  # of one reply's values in memory
MAX_WORK = 512 * 1024 * 1024  # bytes looked at, counting anew each time that one is: a few seconds

_VALUE_BYTES = 160  # of memory for a value beside its text: half of an object with a short text, the most for its bytes
_STEP = 1024 * 1024  # bytes that are scanned at once, so that other threads have their turn
_WINDOW = 1024  # bytes in which an item's end is looked for first
_STARTS = b",[{"  # there are as many values as these, or fewer
_ASTRAL = b"\xf0\xf1\xf2\xf3\xf4"  # the first byte of a character beyond U+FFFF
_ASTRAL_ESCAPES = (b"\\ud", b"\\uD")
_OPENINGS = b"[{"
_MAX_OPENINGS = 100_000  # the collector goes through all lists and objects again and again while they are made
_ENDS_TRIED = 8
_REACH = 4096  # bytes behind a step to which a match that begins in it may reach
_SPACE = re.compile(rb"[ \t\r\n]*+")
_LIST = re.compile(rb'"(?:data|records)"[ \t\r\n]*+:[ \t\r\n]*+\[')
_SCALAR = rb'(?:"(?:[^"\\]|\\.)*+"|[^ \t\r\n,{}\[\]"]++)'
_FIRST_KEYS = re.compile(
    rb'[ \t\r\n]*+\{[ \t\r\n]*+"([^"\\]{1,256}+)"[ \t\r\n]*+:[ \t\r\n]*+'
    + _SCALAR
    + rb'[ \t\r\n]*+,[ \t\r\n]*+"([^"\\]{1,256}+)"',
    re.DOTALL,
)
_GSID = re.compile(rb'"gsid"[ \t\r\n]*+:[ \t\r\n]*+"([^"\\]{1,64}+)"', re.IGNORECASE)
_HALVES = re.compile("[\ud800-\udfff]")


class TooManyValuesError(ReplyTooLargeError):
    """A reply's values would take more memory or time than one may; fewer rows, or a smaller `IN` list, may fit."""

    def __init__(self, object_name: str, cause: str) -> None:
        self.size_limit = MAX_VALUES_BYTES
        text = f"The tenant's answer {cause}: it is not read ({object_name}). Ask for fewer rows at once."
        RefusedQueryError.__init__(self, text, status=200)


class _FaultError(ValueError):
    """What is wrong with a text that is no JSON."""


class _EndedError(_FaultError):
    """The text ends within a value."""


def parse_json(content: bytes | bytearray, name: str = "?", columns: Sequence[str] = ()) -> Any:
    """The value of a tenant's JSON. An item of the list in `data` that is no JSON is an `UnreadableRow`.

    What some writers of JSON do is read: a byte order mark, tabs and line breaks inside of texts, halves of
    characters and bytes that are no UTF-8. The latter two become U+FFFD (bodies are cut at 131,072 UTF-16 units, which
    may halve an emoji). A number that no double holds (`NaN`, `Infinity`, `1e400`, an integer of 400 digits) is kept as
    its text; an integer beyond 64 bits is the nearest double.

    Raises orjson.JSONDecodeError for what is no JSON, and TooManyValuesError.

    Args:
        name: the queried object, for errors.
        columns: the requested ones: by them the next row is found behind one that cannot be read.
    """
    if content.startswith(codecs.BOM_UTF8):
        content = content[len(codecs.BOM_UTF8) :]
    fits = _fits(content)
    if fits:
        try:
            value = orjson.loads(content)
            return value if len(content) <= MAX_ITEM_BYTES else _without_huge_items(value)
        except orjson.JSONDecodeError:
            pass
    found = _LIST.search(content, 0, SMALL_BYTES)
    if found is not None:
        with suppress(_FaultError):  # perhaps it is no list of rows
            return _ItemReader(content, found.end(), name, columns).read()
    elif not fits:
        raise TooManyValuesError(name, "has too many values, and they are no rows")
    try:
        if len(content) > MAX_ITEM_BYTES or _count(content) > MAX_ITEM_VALUES:
            raise _FaultError("too large to be mended")
        value, end = _tolerant(bytes(content))
        if not _SPACE.fullmatch(content, end):
            raise _FaultError("something follows the value")
    except _FaultError as error:
        raise orjson.JSONDecodeError(str(error), "", 0) from None
    return value


def _without_huge_items(value: Any) -> Any:
    """The value, in whose list in `data` an item of more than MAX_ITEM_BYTES is an `UnreadableRow`: no record can hold
    it, and to try takes several times its bytes."""
    data = value.get("data") if isinstance(value, dict) else None
    found = data.get("records") if isinstance(data, dict) else data
    items: list[Any] = found if isinstance(found, list) else []
    for i, item in enumerate(items):
        if _characters(item) > MAX_ITEM_BYTES:
            gsid = value_of(item, "Gsid") if isinstance(item, dict) else None
            text = orjson.dumps(item)[: UnreadableRow.MAX_TEXT].decode("utf-8", "replace")
            items[i] = _unreadable(text, gsid[:64] if isinstance(gsid, str) else "", _TOO_LARGE)
    return value


def _characters(value: Any) -> int:
    """The characters of all texts in a value."""
    found, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found += len(one)
        elif isinstance(one, dict):
            waiting += one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


def _unreadable(text: str, gsid: str, cause: str) -> UnreadableRow:
    of = f" of {gsid}" if gsid else ""
    return UnreadableRow(text, f"The row{of} cannot be read: {cause}.")


def is_quick(content: bytes | bytearray) -> bool:
    """Whether a strict parse of the body, whatever it holds, takes hundredths of a second and little memory."""
    return len(content) <= SMALL_BYTES and _count(content) <= QUICK_VALUES


def _fits(content: bytes | bytearray) -> bool:
    """Whether a strict parse of the whole takes less than a second and its values at most MAX_VALUES_BYTES, at the
    worst that its bytes allow."""
    values = _count(content)
    room = MAX_VALUES_BYTES - _VALUE_BYTES * values
    if len(content) > room or (4 * len(content) > room and _widest(content) * len(content) > room):
        return False
    return values <= _MAX_OPENINGS or _count(content, _OPENINGS) <= _MAX_OPENINGS


def _count(content: Any, signs: bytes = _STARTS) -> int:
    """The number of its values, or more: signs in texts count, too."""
    steps = (content[at : at + _STEP] for at in range(0, len(content), _STEP))
    if isinstance(content, memoryview):
        steps = (bytes(step) for step in steps)
    return sum(len(step) - len(step.translate(None, signs)) for step in steps)


def _widest(content: bytes | bytearray) -> int:
    """Bytes of memory that a character of its texts may take."""
    widest = 1
    for at in range(0, len(content), _STEP):
        step = content[at : at + _STEP + len(_ASTRAL_ESCAPES[0])]
        if step.isascii() and b"\\u" not in step:
            continue
        if any(sign in step for sign in (*_ASTRAL, *_ASTRAL_ESCAPES)):
            return 4
        widest = 2
    return widest


def _start_of_row(content: bytes | bytearray, start: int, columns: Set[bytes]) -> re.Pattern[bytes]:
    """Matches the comma before a row of the list at `start`: rows of a reply begin with the same columns.

    It matches nothing within a text, where the quotes are escaped. Rows that are in a row may look like it.
    """
    space = rb"[ \t\r\n]*+"
    first = _FIRST_KEYS.match(content, start, start + _STEP)
    names = b"|".join(map(re.escape, sorted({*columns, *((first[1],) if first else ())})))
    begins = rb'"(?:%s)"%s:' % (names, space)
    if first is not None and {first[1].lower(), first[2].lower()} <= columns:
        begins = rb'"%s"%s:%s%s%s,%s"(?:%s)"%s:' % (
            re.escape(first[1]),
            space,
            space,
            _SCALAR,
            space,
            space,
            names,
            space,
        )
    return re.compile(rb",%s(?=\{%s(?:%s|\}))" % (space, space, begins), re.IGNORECASE | re.DOTALL)


class _ItemReader:
    """Reads the list whose bracket is before `start`, and the envelope around it."""

    def __init__(self, content: bytes | bytearray, start: int, name: str, columns: Sequence[str]) -> None:
        self._content = content
        self._view = memoryview(content)
        self._start = start
        self._name = name
        self._most = MAX_ROWS_GIVEN if columns else MAX_ITEMS
        self._work = 0
        self._next: int | None = 0  # the last found beginning of a row
        self._next_row = _start_of_row(content, start, {column.lower().encode() for column in columns})

    def read(self) -> Any:
        """The envelope with its items. Raises _FaultError, TooManyValuesError."""
        items: list[Any] = []
        weight, at = 0, self._after_space(self._start)
        while self._content[at : at + 1] != b"]":
            start = self._after_space(at + 1) if items else at
            item, at = self._item(start)
            items.append(item)
            weight += self._weight(item, start, at)
            if weight > MAX_VALUES_BYTES:
                raise TooManyValuesError(self._name, f"takes more than {MAX_VALUES_BYTES:,} bytes of memory")
            if len(items) > self._most:
                raise TooManyValuesError(self._name, f"has more than {self._most:,} items")
        return self._envelope(items, at)

    def _item(self, start: int) -> tuple[Any, int]:
        """The item at `start`, and where the comma or bracket behind it is."""
        end = self._next_start(start)
        cause = self._too_much(start, end)
        if end is not None and not cause and self._content[start] == ord("{"):
            try:
                return orjson.loads(self._view[start:end]), end
            except orjson.JSONDecodeError:
                pass
        if not cause or end is None:
            # What looks like the next row may lie within this one, or the next item be no row.
            try:
                return self._whole_item(start)
            except _EndedError:
                if end is None:  # more so than a row that is not closed: rows behind it must not be missed
                    raise
                cause = "it is not closed"
            except _FaultError as error:
                cause = str(error)
        end = self._end_of_list(start) if end is None else end
        return self._unreadable(start, end, cause), end

    def _whole_item(self, start: int) -> tuple[Any, int]:
        """The item, its end found by reading it. Raises _FaultError."""
        for step in count():
            size = min(_WINDOW << 2 * step, MAX_ITEM_BYTES, len(self._content) - start)
            window = bytes(self._view[start : start + size])
            self._look_at(size)
            if _count(window) > MAX_ITEM_VALUES:
                raise _FaultError(f"it has more than {MAX_ITEM_VALUES:,} values")
            try:
                value, length = _tolerant(window)
            except _EndedError:
                if size == MAX_ITEM_BYTES:
                    raise _FaultError(f"it has more than {size:,} bytes") from None
                if start + size == len(self._content):
                    raise
                continue
            behind = self._after_space(start + length)
            if behind == len(self._content):
                raise _EndedError("the list is not closed")
            if length == size:
                continue  # of a number there may be more
            if self._content[behind : behind + 1] not in (b",", b"]"):
                raise _FaultError("behind it is neither a comma nor the list's end")
            with suppress(orjson.JSONDecodeError):  # it was sound, and is as in a reply without the others
                value = orjson.loads(window[:length])
            return value, behind
        raise AssertionError("unreachable")

    def _next_start(self, start: int) -> int | None:
        """Where the comma before the next row is, as it seems without reading the item at `start`."""
        if self._next is not None and self._next < start:
            self._next = None
            for at in range(start, len(self._content), _STEP):
                found = self._next_row.search(self._content, at, at + _STEP + _REACH)
                self._look_at(_STEP if found is None else found.start() - at)
                if found is not None:
                    self._next = found.start()
                    break
        return self._next

    def _too_much(self, start: int, end: int | None) -> str:
        """Why the item up to `end` is not to be read; "" where it may be."""
        if end is None:
            return ""
        if end - start > MAX_ITEM_BYTES:
            return _TOO_LARGE
        self._look_at(end - start)
        if _count(self._view[start:end]) > MAX_ITEM_VALUES:
            return f"it has more than {MAX_ITEM_VALUES:,} values"
        return ""

    def _look_at(self, size: int) -> None:
        """Counts work. Raises TooManyValuesError."""
        self._work += size
        if self._work > MAX_WORK:
            raise TooManyValuesError(self._name, "takes too long to be read item by item")

    def _end_of_list(self, start: int) -> int:
        """The list's last bracket, by the envelope that goes on behind it. Raises _FaultError."""
        at = len(self._content)
        for _ in range(_ENDS_TRIED):
            at = self._content.rfind(b"]", start, at)
            if at < 0:
                break
            try:
                self._envelope([], at)
            except _FaultError:
                continue
            return at
        raise _FaultError("the list has no end")

    def _envelope(self, items: list[Any], end: int) -> Any:
        """The body with these items in the place of those up to `end`. Raises _FaultError."""
        if self._start + len(self._content) - end > SMALL_BYTES:
            raise _FaultError("there is too much around the list")
        text = bytes(self._view[: self._start]) + bytes(self._view[end:])
        value, length = _tolerant(text)
        if _SPACE.fullmatch(text, length) and isinstance(value, dict):
            data = value.get("data")
            holder, key = (data, "records") if isinstance(data, dict) else (value, "data")
            if holder.get(key) == []:
                holder[key] = items
                return value
        raise _FaultError("the list is not that of the rows")

    def _unreadable(self, start: int, end: int, cause: str) -> UnreadableRow:
        text = bytes(self._view[start : min(end, start + UnreadableRow.MAX_TEXT)]).decode("utf-8", "replace").rstrip()
        gsid = _GSID.search(self._content, start, min(end, start + _STEP))
        return _unreadable(text, gsid[1].decode("utf-8", "replace") if gsid else "", cause)

    def _weight(self, item: Any, start: int, end: int) -> int:
        """About the bytes of memory of the item that is read from there."""
        if not isinstance(item, dict) or any(isinstance(value, dict | list) for value in item.values()):
            piece = self._view[start:end]
            return 4 * len(piece) + _VALUE_BYTES * _count(piece)
        return sum(map(sys.getsizeof, item.values())) + _VALUE_BYTES * (1 + len(item))

    def _after_space(self, at: int) -> int:
        found = _SPACE.match(self._content, at)
        return at if found is None else found.end()


def _tolerant(content: bytes) -> tuple[Any, int]:
    """The first value, and its length in bytes; as `parse_json` describes it. Raises _FaultError, _EndedError."""
    text = content.decode("utf-8", "surrogateescape")
    begin = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = _decoder.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        kind = _EndedError if _is_end(text, error) else _FaultError
        raise kind(f"{error.msg} at its character {error.pos}") from None
    except RecursionError:
        raise _FaultError("it is nested too deep") from None
    length = end if text.isascii() else len(text[:end].encode("utf-8", "surrogateescape"))
    if not text.isascii() and _HALVES.search(text, 0, end):
        value, _ = _decoder.raw_decode(content[:length].decode("utf-8", "replace"), begin)
    if is_too_deep(value):
        raise _FaultError("it is nested too deep")
    if "\\ud" in text or "\\uD" in text:
        value = _mended(value)
    return value, length


_WORDS = ("null", "true", "false", "NaN", "Infinity", "-Infinity")


def _is_end(text: str, error: json.JSONDecodeError) -> bool:
    """Whether the fault is that the text ends, and it might go on soundly."""
    rest = text[error.pos :] if len(text) - error.pos < _LONGEST_ESCAPE else None
    if error.msg.startswith("Unterminated string") or (rest is not None and not rest.strip()):
        return True
    in_escape = rest is not None and error.msg.startswith("Invalid \\") and _BEGUN_ESCAPE.search(rest) is not None
    return in_escape or (bool(rest) and any(word.startswith(str(rest)) for word in _WORDS))


_BEGUN_ESCAPE = re.compile(r"(?:\\|^)(?:u[0-9a-fA-F]{0,4})?\Z")
_LONGEST_ESCAPE = len("\\ud83d\\ude80")


def _mended(value: Any) -> Any:
    """The value with U+FFFD for each half of a character."""
    if isinstance(value, str):
        return "".join(_HALVES.sub("\ufffd", value[at : at + _STEP]) for at in range(0, len(value), _STEP))
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


def _float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _integer(text: str) -> int | float | str:
    if len(text) < 19:
        return int(text)
    return _float(text) if len(text) > 20 or not -(2**63) <= int(text) < 2**64 else int(text)


_decoder = json.JSONDecoder(strict=False, parse_float=_float, parse_int=_integer, parse_constant=str)
