"""The JSON of replies: as it is where it is sound, item by item where it is not, and never beyond its bounds."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frame_gainsight.gainsight import UnreadableRow
from frame_gainsight.gainsight import reply_json as module
from frame_gainsight.gainsight.reply_json import TooManyValuesError, parse_json

COLUMNS = ["Gsid", "Name", "Notes"]
GOOD = [{"Gsid": str(n), "Name": f"Näme {n}", "Notes": "a, [b] {c}", "Arr": 1.5, "Big": 2**63} for n in range(5)]


def page(rows: list[bytes], form: str = '{"result":true,"data":{"records":[%s],"total":5},"message":null}') -> bytes:
    before, _, after = form.partition("%s")
    return before.encode() + b",".join(rows) + after.encode()


def records(content: bytes) -> list[Any]:
    read = parse_json(content, "activity_timeline", COLUMNS)
    data = read["data"]
    found = data if isinstance(data, list) else data["records"]
    assert isinstance(found, list)
    return found


def good(n: int) -> bytes:
    return orjson.dumps(GOOD[n])


# A row that a strict parser refuses → the row as it is read.
MENDED = {
    "tab": (b'{"Gsid":"x","Notes":"a\tb"}', {"Gsid": "x", "Notes": "a\tb"}),
    "line break": (b'{"Gsid":"x","Notes":"a\r\nb"}', {"Gsid": "x", "Notes": "a\r\nb"}),
    "NUL": (b'{"Gsid":"x","Notes":"a\0b"}', {"Gsid": "x", "Notes": "a\0b"}),
    "NaN": (b'{"Gsid":"x","Arr":NaN,"Notes":"b"}', {"Gsid": "x", "Arr": "NaN", "Notes": "b"}),
    "Infinity": (b'{"Gsid":"x","Arr":[Infinity,-Infinity]}', {"Gsid": "x", "Arr": ["Infinity", "-Infinity"]}),
    "1e400": (b'{"Gsid":"x","Arr":-1e400}', {"Gsid": "x", "Arr": "-1e400"}),
    "400 digits": (b'{"Gsid":"x","Arr":%s}' % (b"9" * 400), {"Gsid": "x", "Arr": "9" * 400}),
    "9,000 digits": (b'{"Gsid":"x","Arr":%s}' % (b"9" * 9000), {"Gsid": "x", "Arr": "9" * 9000}),
    "no UTF-8": (b'{"Gsid":"x","Notes":"caf\xe9, \xf0\x9f."}', {"Gsid": "x", "Notes": "caf�, �."}),
    "surrogate as UTF-8": (b'{"Gsid":"x","Notes":"\xed\xa0\x80"}', {"Gsid": "x", "Notes": "���"}),
    "lone half": (rb'{"Gsid":"x","Notes":"\ud83d \uD83D\uDE80 \\ud83d"}', {"Gsid": "x", "Notes": "� 🚀 \\ud83d"}),
    "half in a key": (rb'{"Gsid":"x","\udc00":1}', {"Gsid": "x", "�": 1}),
    "tab, nested rows": (
        b'{"Gsid":"x","Notes":"\t","Of":[{"Gsid":"y"},{"Gsid":"z"},{}]}',
        {"Gsid": "x", "Notes": "\t", "Of": [{"Gsid": "y"}, {"Gsid": "z"}, {}]},
    ),
}
# A row that no parser reads → a part of the cause.
LOST = {
    "unescaped quote": (b'{"Gsid":"x","Notes":"say "hi" now"}', "of x cannot be read: Expecting"),
    "quote missing": (b'{"Gsid":"x","Notes":"say}', "of x cannot"),
    "brace missing": (b'{"Gsid":"x","Notes":"a"', "of x cannot"),
    "value missing": (b'{"Gsid":"x","Notes":}', "Expecting value"),
    "comma too many": (b'{"Gsid":"x","Notes":"a",}', "of x cannot"),
    "comma missing": (b'{"Gsid":"x" "Notes":"a"}', "Expecting ','"),
    "bracket too many": (b'{"Gsid":"x","Notes":[1]]}', "of x cannot"),
    "brace too many": (b'{"Gsid":"x"}}', "neither a comma nor"),
    "single quotes": (b"{'Gsid':'x'}", "cannot be read: Expecting"),
    "bad escape": (rb'{"Gsid":"x","Notes":"\x41"}', "escape"),
    "undefined": (b'{"Gsid":"x","Notes":undefined}', "Expecting value"),
    "5,000 deep": (b'{"Gsid":"x","Notes":%s}' % (b"[" * 5000 + b"]" * 5000), "nested too deep"),
    "2,000 deep, open": (b'{"Gsid":"x","Notes":%s' % (b'{"a":' * 2000), "nested too deep"),
    "nothing": (b"", "cannot be read: Expecting value"),
}
FORMS = [
    '{"result":true,"data":{"records":[%s],"total":5},"message":null}',
    '{"data":[%s],"result":true}',
    '\ufeff{ "result" : true ,\r\n\t"data" : { "total" : NaN, "records" : [ %s ] }, "message" : null }\n',
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize(("bad", "read"), MENDED.values(), ids=MENDED)
def test_a_row_that_only_a_strict_parser_refuses_is_read(bad: bytes, read: dict[str, Any], at: int, form: str) -> None:
    rows = [good(n) for n in range(4)]
    found = records(page([*rows[:at], bad, *rows[at:]], form))
    assert found == [*GOOD[:at], read, *GOOD[at:4]]
    assert orjson.loads(orjson.dumps(found)) == found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize(("bad", "cause"), LOST.values(), ids=LOST)
def test_a_row_that_cannot_be_read_costs_that_row(bad: bytes, cause: str, at: int, form: str) -> None:
    rows = [good(n) for n in range(4)]
    found = records(page([*rows[:at], bad, *rows[at:]], form))
    lost = [row for row in found if isinstance(row, UnreadableRow)]
    assert [row for row in found if not isinstance(row, UnreadableRow)] == GOOD[:4]
    assert len(lost) == 1 and cause in lost[0].cause
    assert lost[0]["unreadable"].strip() == bad.decode()
    assert orjson.dumps(lost[0])


@pytest.mark.parametrize("item", [None, 5, "a, b", [], [[1], {"Gsid": "y"}], {}, {"other": {"Gsid": "z"}}], ids=str)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_items_of_another_shape_beside_a_bad_row_are_themselves(item: Any, at: int) -> None:
    rows = [good(0), good(1), b'{"Gsid":"x","Notes":"\t"}']
    read = [*GOOD[:2], {"Gsid": "x", "Notes": "\t"}]
    assert records(page([*rows[:at], orjson.dumps(item), *rows[at:]])) == [*read[:at], item, *read[at:]]


def test_what_is_kept_of_a_row_is_bounded() -> None:
    bad = b'{"Gsid":"x","Notes":' + b'"' * 5_000_000 + b"}"
    found = records(page([good(0), bad, good(1)]))
    assert [found[0], found[2]] == GOOD[:2]
    assert len(found[1]["unreadable"]) == UnreadableRow.MAX_TEXT and len(found[1].cause) < 500


def test_a_row_with_too_many_values_costs_that_row() -> None:
    for many in (
        b"[" + b"[]," * 300_000 + b"0]",
        b"[" + b'{"Gsid":0},' * 300_000 + b"0]",
        b'"' + b"," * 300_000 + b'"',
    ):
        bad = b'{"Gsid":"x","Notes":%s,"Text":"\t"}' % many
        found = records(page([good(0), bad, good(1)]))
        assert [found[0], found[-1]] == GOOD[:2]
        assert isinstance(found[1], UnreadableRow) and "of x cannot be read" in found[1].cause


@pytest.mark.parametrize("item", [b"{}", b'{"Gsid":"1"}', b"[]", b"0", b'""', b'{"other":1}', b"[[],[]]", b"null"])
def test_millions_of_items_are_refused(item: bytes) -> None:
    with pytest.raises(TooManyValuesError, match=r"^The tenant's answer .*activity_timeline.*Ask for fewer rows"):
        records(page([item] * (8_000_000 // len(item))))


def test_rows_that_take_too_much_memory_are_refused_and_half_of_them_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VALUES_BYTES", 16 * 1024 * 1024)
    row = orjson.dumps({"Gsid": "1", "Notes": "x" * 50_000 + "🚀"})
    with pytest.raises(TooManyValuesError, match="takes more than 16,777,216 bytes of memory"):
        records(page([row] * 90))
    assert records(page([row] * 40)) == [orjson.loads(row)] * 40


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda of: st.lists(of) | st.dictionaries(st.text(), of),
        max_leaves=20,
    )
)
@example({"Gsid": -(2**63), "a": [2**64 - 1, 1e308, -0.0, "\x7f"], "b": {}})
def test_a_sound_row_beside_a_bad_one_is_as_it_is_alone(value: Any) -> None:
    row = {"Gsid": "1", "Of": value}
    for one in (orjson.dumps(row), json.dumps(row).encode()):
        assert records(page([one, b'{"Gsid":"x"', one])) == [
            alone := records(page([one]))[0],
            {"unreadable": '{"Gsid":"x"'},
            alone,
        ]
        tabbed = one[:-1] + b',"Tab":"\t"}'
        assert records(page([tabbed])) == [alone | {"Tab": "\t"}]


@given(st.integers(-(10**40), 10**40) | st.integers(2**63 - 2, 2**63 + 2) | st.integers(2**64 - 2, 2**64 + 2))
@example(-(2**63) - 1)
def test_an_integer_is_the_same_whoever_reads_it(number: int) -> None:
    alone = parse_json(b"[%d]" % number)
    assert parse_json(b'["\t",%d]' % number) == ["\t", *alone]
    assert alone == [number if -(2**63) <= number < 2**64 else float(number)]


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(first: bytes, second: bytes) -> None:
    for content in (first, page([first, good(0), second]), first + page([good(1)]) + second):
        try:
            read = parse_json(content, "company", COLUMNS)
        except orjson.JSONDecodeError:
            continue
        assert orjson.dumps(read)


@given(st.integers(0, 300), st.sampled_from([*FORMS, '{"result":true,"data":[%s]}']))
def test_a_reply_that_is_cut_short_is_no_json(length: int, form: str) -> None:
    whole = page([good(0), b'{"Gsid":"x","Of":[1,{"a":[]}],"Notes":"\t"}', good(1)], form).rstrip()
    with pytest.raises(orjson.JSONDecodeError):
        parse_json(whole[: min(length, len(whole) - 1)], "company", COLUMNS)


ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from('\ud83d\ude80\ud800\udfff\\u"/dD8'))


def whole(text: str) -> str:
    """With U+FFFD for each half of a character; two halves that meet are one."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@given(ANY_TEXT)
def test_halves_of_characters_are_replaced_and_nothing_else_is_changed(text: str) -> None:
    assert parse_json(json.dumps({"a": text, "b": [text, 1]}).encode()) == {"a": whole(text), "b": [whole(text), 1]}


@given(st.text())
def test_sound_text_is_as_it_is(text: str) -> None:
    for ascii_only in (True, False):
        assert parse_json(json.dumps(text, ensure_ascii=ascii_only).encode()) == text


def test_an_escaped_backslash_is_no_half() -> None:
    assert parse_json(rb'["\\ud800", "\ud800"]') == ["\\ud800", "�"]


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    assert parse_json(b'["caf\xe9"]') == ["caf�"]


@pytest.mark.parametrize("content", [b"", b"{", rb'{"a": "\ud800', b"<html>", b"[NaN", rb'["\x"]'])
def test_text_that_is_no_json_raises(content: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        parse_json(content)


@pytest.mark.parametrize("broken", [b"", b"\t"])
def test_a_row_of_more_bytes_than_any_record_has_costs_itself_beside_right_ones(broken: bytes) -> None:
    large = b'{"Gsid":"x","Notes":"%s%s"}' % (b"n" * 17_000_000, broken)
    found = records(page([orjson.dumps(GOOD[0]), large, orjson.dumps(GOOD[1])]))
    assert [found[0], found[2]] == GOOD[:2]
    assert isinstance(found[1], UnreadableRow)
    assert found[1].cause == "The row of x cannot be read: it has more than 16,777,216 bytes."
    assert len(found[1][UnreadableRow.KEY]) <= UnreadableRow.MAX_TEXT


@pytest.mark.parametrize(
    "content",
    [
        page([b'{"Notes":"%s"}' % (rb"\ud83d" * 10_000_000)]),
        page([b'{"Notes":"%s"}' % (rb"\ud83d" * 2_600_000)]),
        page([b'{"Notes":"%s"' % (rb"\\" * 30_000_000)]),
        page([b'{"Notes":"%s"}' % (b"\xff" * 15_000_000)]),
    ],
    ids=["60 MB of halves", "15 MB of halves", "60 MB of backslashes that do not end", "15 MB that is no UTF-8"],
)
def test_no_step_of_reading_keeps_other_threads_waiting(content: bytes) -> None:
    def read() -> None:
        with suppress(orjson.JSONDecodeError):
            records(content)

    reading = threading.Thread(target=read)
    longest = 0.0
    reading.start()
    while reading.is_alive():
        before = time.process_time()
        time.sleep(0.001)
        longest = max(longest, time.process_time() - before)
    assert longest < 0.7


@pytest.mark.parametrize("text", [rb"a\qb", rb"a\u12", rb"a\uzzzz", rb"\ud83d\q"])
def test_an_escape_that_is_none_costs_its_row_where_the_reply_ends_soon_after_it(text: bytes) -> None:
    bad = b'{"Gsid":"x","Notes":"%s"}' % text
    found = records(page([orjson.dumps(GOOD[0]), bad], '{"result":true,"data":[%s]}'))
    assert found[0] == GOOD[0]
    assert isinstance(found[1], UnreadableRow) and "of x cannot be read" in found[1].cause


@pytest.mark.parametrize("end", [b"\\", rb"\u", rb"\u1", rb"\u123", rb"\ud83d\u12", rb"\ud83d"])
def test_a_reply_that_is_cut_within_an_escape_is_no_json(end: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        records(page([orjson.dumps(GOOD[0]), b'{"Gsid":"x","Notes":"' + end], '{"result":true,"data":[%s'))


@pytest.mark.parametrize("before", range(12))
def test_a_row_is_read_wherever_a_piece_of_it_that_is_looked_at_ends(before: int) -> None:
    odd = b'{"Gsid":"%s","Notes":"%s"}' % (b"x" * before, rb"\ud83d" * 1000)
    (found,) = records(page([odd]))
    assert found == {"Gsid": "x" * before, "Notes": "\ufffd" * 1000}
