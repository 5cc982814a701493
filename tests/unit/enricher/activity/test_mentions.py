"""Attendees: people out of every form in which tenants are thought to write them (gainsight-api 3.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enricher.activity.mentions import Mention, Side, mentions, normal_email, parse_attendees, visible
from frame_gainsight.sandbox.tenant.activity import Address
from frame_gainsight.sandbox.tenant.attendee_formats import write

G1, G2 = "1C00" + "A" * 32, "1P01" + "B" * 32


def people(value: Any) -> list[tuple[str | None, str | None, str | None]]:
    return [(m.email, m.name, m.gsid) for m in parse_attendees(value)]


def mail(email: str, name: str | None = None) -> tuple[str | None, str | None, str | None]:
    return (email, name, None)


def named(name: str) -> tuple[str | None, str | None, str | None]:
    return (None, name, None)


FORMS: dict[str, tuple[Any, list[Any]]] = {
    "null": (None, []),
    "empty": ("", []),
    "blank": (" \n ", []),
    "separators": (" ; , ;\n", []),
    "a bare name": ("abhilash", [named("abhilash")]),
    "names": ("Sam Rivers, Dana Osei", [named("Sam Rivers"), named("Dana Osei")]),
    "quoted names": ('"Osei, Dana"; Sam', [named("Osei, Dana"), named("Sam")]),
    "an address": ("dana@x.example", [mail("dana@x.example")]),
    "short addresses": ("a@b, c@d", [mail("a@b"), mail("c@d")]),
    "commas": ("a@x.example,b@x.example", [mail("a@x.example"), mail("b@x.example")]),
    "semicolons": ("a@x.example; b@x.example;", [mail("a@x.example"), mail("b@x.example")]),
    "lines": ("a@x.example\r\nb@x.example\n", [mail("a@x.example"), mail("b@x.example")]),
    "blanks": ("a@x.example b@x.example", [mail("a@x.example"), mail("b@x.example")]),
    "angle": ("Dana Osei <dana@x.example>", [mail("dana@x.example", "Dana Osei")]),
    "angles": ("A B <a@x.example>, C D <c@x.example>", [mail("a@x.example", "A B"), mail("c@x.example", "C D")]),
    "angle without a name": ("<dana@x.example>", [mail("dana@x.example")]),
    "address as name": ("dana@x.example <dana@x.example>", [mail("dana@x.example")]),
    "a comma in a quoted name": (
        '"Osei, Dana" <dana@x.example>, sam@x.example',
        [mail("dana@x.example", "Osei, Dana"), mail("sam@x.example")],
    ),
    "a surname first": (
        "Osei, Dana <dana@x.example>, Lee, Kim Ann <kim@x.example>; sam@x.example",
        [mail("dana@x.example", "Osei, Dana"), mail("kim@x.example", "Lee, Kim Ann"), mail("sam@x.example")],
    ),
    "a whole name before an angle": (
        "Sam Rivers, Dana Osei <dana@x.example>",
        [named("Sam Rivers"), mail("dana@x.example", "Dana Osei")],
    ),
    "a Gsid before an angle": (f"{G1}, Dana <dana@x.example>", [(None, None, G1), mail("dana@x.example", "Dana")]),
    "a semicolon in a quoted name": (
        '"Osei; Dana" <dana@x.example>; sam@x.example',
        [mail("dana@x.example", "Osei; Dana"), mail("sam@x.example")],
    ),
    "escaped quotes": (r'"Dana \"D\" Osei" <dana@x.example>', [mail("dana@x.example", 'Dana "D" Osei')]),
    "an apostrophe": ("o'brien@x.example", [mail("o'brien@x.example")]),
    "an apostrophe in a name": ("Pat O'Brien <pat@x.example>", [mail("pat@x.example", "Pat O'Brien")]),
    "in apostrophes": ("'dana@x.example'", [mail("dana@x.example")]),
    "upper case": ("DANA@X.EXAMPLE", [mail("dana@x.example")]),
    "plus": ("Dana+News@x.example", [mail("dana+news@x.example")]),
    "mailto": ("mailto:dana@x.example", [mail("dana@x.example")]),
    "a full stop": ("dana@x.example.", [mail("dana@x.example")]),
    "unicode": ("Lucía García <lucia@x.example>, 田中 雪", [mail("lucia@x.example", "Lucía García"), named("田中 雪")]),
    "a name among addresses": (
        "a@x.example, Front Desk, b@x.example",
        [mail("a@x.example"), named("Front Desk"), mail("b@x.example")],
    ),
    "a name before addresses": (
        "Conference Room 4B, a@x.example",
        [named("Conference Room 4B"), mail("a@x.example")],
    ),
    "a name in brackets": ("Dana (Northwind) <dana@x.example>", [mail("dana@x.example", "Dana (Northwind)")]),
    "a comma in brackets": (
        "Dana Osei (VP, Sales) <dana@x.example>, sam@x.example",
        [mail("dana@x.example", "Dana Osei (VP, Sales)"), mail("sam@x.example")],
    ),
    "a name behind": ("dana@x.example (Dana Osei)", [mail("dana@x.example", "Dana Osei")]),
    "a bracket never closed": (
        "Dana :( <dana@x.example>, sam@x.example",
        [mail("dana@x.example", "Dana :("), mail("sam@x.example")],
    ),
    "a Gsid": (G1, [(None, None, G1)]),
    "Gsids": (f"{G1};{G2}", [(None, None, G1), (None, None, G2)]),
    "Gsids and addresses": (f"{G1}, a@x.example", [(None, None, G1), mail("a@x.example")]),
    "JSON strings": ('["a@x.example", "Sam Rivers"]', [mail("a@x.example"), named("Sam Rivers")]),
    "JSON angles": ('["Dana Osei <dana@x.example>"]', [mail("dana@x.example", "Dana Osei")]),
    "a list": (["a@x.example", G1], [mail("a@x.example"), (None, None, G1)]),
    "an empty list": ("[]", []),
    "list of nulls": ("[null, null]", []),
    "JSON objects": (
        json.dumps([{"id": G1, "name": "Dana Osei", "email": "Dana@X.example", "userType": "EXTERNAL"}]),
        [("dana@x.example", "Dana Osei", G1)],
    ),
    "one object": ({"Email": "a@x.example"}, [mail("a@x.example")]),
    "an id that is none": (f'[{{"id": "17", "personId": "{G1}"}}]', [(None, None, G1)]),
    "ids of the entry and of the person": (f'[{{"id": "{G2}", "personId": "{G1}"}}]', [(None, None, G1)]),
    "an id alone": (f'[{{"gsid": "{G1}"}}]', [(None, None, G1)]),
    "a name alone": ('[{"name": "Front Desk", "email": null, "id": null}]', [named("Front Desk")]),
    "an address in the name": ('[{"name": "a@x.example", "email": ""}]', [mail("a@x.example")]),
    "an empty object": ("[{}]", []),
    "an id of the row's own": ([{"id": G1, "personId": G2}, {"gsid": G1, "userId": G2}], [(None, None, G2)] * 2),
    "a user who is a person": ({"personId": G1, "userId": G2}, [(None, None, G2)]),
    "bars": ("a@x.example|b@y.example", [mail("a@x.example"), mail("b@y.example")]),
    "bars and names": (
        "Dana Osei <dana@x.example> | sam@x.example |",
        [mail("dana@x.example", "Dana Osei"), mail("sam@x.example")],
    ),
    "a bar in a name": ("Dana | Northwind <dana@x.example>", [mail("dana@x.example", "Dana | Northwind")]),
    "escaped for HTML": (
        "Dana &lt;dana@x.example&gt;; &quot;Osei, Sam&quot; &#60;sam@x.example&#62;, R&amp;D, AT&T; P&L",
        [mail("dana@x.example", "Dana"), mail("sam@x.example", "Osei, Sam"), named("R&D"), named("AT&T"), named("P&L")],
    ),
    "JSON escaped for HTML": (
        "[{&quot;name&quot;: &quot;Dana&quot;, &quot;email&quot;: &quot;dana@x.example&quot;}]",
        [mail("dana@x.example", "Dana")],
    ),
    "escaped for HTML in JSON": (
        '[{"name": "Dana &quot;D&quot; Osei", "email": "dana@x.example"}, "Sam &lt;sam@x.example&gt;"]',
        [mail("dana@x.example", 'Dana "D" Osei'), mail("sam@x.example", "Sam")],
    ),
    "characters unseen": (
        "\ufeff\u202aDana\u00a0O\u00adsei\u202c\u2003\u200b<da\u200bna@x.example\u2060>\u2028sam@x.example\u200e\x07",
        [mail("dana@x.example", "Dana Osei"), mail("sam@x.example")],
    ),
    "unseen in JSON": (
        '\ufeff[{"name": "\u200bSam\u00a0Rivers", "email": "\u202asam@x.example"}, "\\u200bd@x.example", "L&nbsp;K"]',
        [mail("sam@x.example", "Sam Rivers"), mail("d@x.example"), named("L K")],
    ),
    "nobody": ("undisclosed-recipients:;, Undisclosed recipients, N/A; -, null, None, undefined, 'n/a', ?, (none)", []),
    "nobody in JSON": ('["null", "-", {"name": "undefined", "email": "N/A"}, {"name": "-", "email": ""}]', []),
    "nobody's name": ("null <dana@x.example>, sam@x.example (-)", [mail("dana@x.example"), mail("sam@x.example")]),
    "a group": ("Team: a@x.example, b@x.example;", [mail("a@x.example"), mail("b@x.example")]),
    "names like nobody's": ("Nuno None; Na Null", [named("Nuno None"), named("Na Null")]),
    "not JSON after all": ("[Dana] <dana@x.example>", [mail("dana@x.example", "[Dana]")]),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms(form: str) -> None:
    value, expected = FORMS[form]
    assert people(value) == expected


def test_a_name_that_is_an_address_is_not_a_name() -> None:
    assert people('"DANA@x.example" <dana@x.example>') == [mail("dana@x.example")]


@pytest.mark.parametrize(
    "form", ["emails", "angle", "names", "bare_names", "json_strings", "json_objects", "gsids", "null"]
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_what_the_sandbox_writes(form: str, delimiter: str) -> None:
    """`mixed`, the ninth, is these taken by turns."""
    group = [
        Address("Osei, Dana", "Dana.Osei@x.example"),
        Address('Sam "S" Rivers', "sam@x.example"),
        Address("Zoë Åkesson", "zoe@x.example"),
        Address(None, "contact1@x.example"),
        Address("Front Desk", None),
    ]
    if form == "bare_names":  # nobody can part a comma in a bare name from one between two
        group = group[1:]
    text = write(group, form, delimiter, {"dana.osei@x.example": G1, "sam@x.example": G2}.get)
    found = parse_attendees(text)
    expected = {
        "bare_names": {'Sam "S" Rivers', "Zoë Åkesson", "contact1@x.example", "Front Desk"},
        "gsids": {G1, G2, "zoe@x.example", "contact1@x.example", "Front Desk"},
        "null": set(),
    }.get(form, {"dana.osei@x.example", "sam@x.example", "zoe@x.example", "contact1@x.example", "Front Desk"})
    assert {m.email or m.gsid or m.name for m in found} == expected
    assert len(found) == len(expected)
    if form in ("angle", "names", "json_objects"):
        assert {m.name for m in found if m.email} == {"Osei, Dana", 'Sam "S" Rivers', "Zoë Åkesson", None}


def test_everyone_an_activity_names_in_order_and_as_listed(of: Any) -> None:
    activity = of(
        {
            "From": "from@x.example",
            "To": "to@x.example",
            "Cc": "cc@x.example",
            "InternalAttendees": "in@x.example",
            "ExternalAttendees": "out@x.example",
            "AuthorId": G2,
            "AuthorId__gr.Email": "Author@x.example",
            "AuthorId__gr.Name": "An Author",
            "UserEmail": "creator@x.example",
        }
    )
    assert mentions(activity) == [
        Mention("from@x.example"),
        Mention("to@x.example"),
        Mention("cc@x.example"),
        Mention("in@x.example", side=Side.INTERNAL),
        Mention("out@x.example", side=Side.EXTERNAL),
        Mention("author@x.example", "An Author", G2, Side.INTERNAL),
    ]


def test_an_author_without_an_address_is_known_by_gsid(of: Any) -> None:
    creator = {"UserEmail": "creator@x.example", "UserName": "A Creator"}
    for email in ("", "n/a"):
        assert mentions(of({"AuthorId": G2, "AuthorId__gr.Email": email} | creator)) == [
            Mention(gsid=G2, side=Side.INTERNAL)
        ]
    assert mentions(of({"AuthorId": "0055e000001"})) == []


@pytest.mark.parametrize("author", [{}, {"AuthorId": "0055e000001", "AuthorId__gr.Email": ""}], ids=["none", "no Gsid"])
def test_where_there_is_no_author_the_creator_counts(of: Any, author: dict[str, Any]) -> None:
    told = author | {"UserEmail": "Creator@x.example", "UserName": "A Creator"}
    assert mentions(of(told)) == [Mention("creator@x.example", "A Creator", None, Side.INTERNAL)]
    told |= {"UserEmail": None}
    assert mentions(of(told)) == [Mention(name="A Creator", side=Side.INTERNAL)]
    assert mentions(of(author | {"AuthorId__gr.Name": "An Author"})) == [Mention(name="An Author", side=Side.INTERNAL)]


def test_an_author_whose_address_is_none_is_known_by_gsid(of: Any) -> None:
    author = {"AuthorId": G2, "AuthorId__gr.Email": "n/a", "AuthorId__gr.Name": "An\u00a0Author\u200b"}
    assert mentions(of(author)) == [Mention(None, "An Author", G2, Side.INTERNAL)]
    assert mentions(of({"AuthorId__gr.Email": "-", "AuthorId__gr.Name": "N/A"})) == []


def test_nobody(of: Any) -> None:
    assert mentions(of({"Gsid": "G1"})) == []


@pytest.mark.parametrize("text", ["", "dana", "@", "dana@", "@x.example", "dana @ x", "<>", "a@."])
def test_no_address(text: str) -> None:
    assert normal_email(text) is None


def test_an_address_has_no_character_that_nobody_sees() -> None:
    assert normal_email("\u200bDana@x.\u00adexample\u00a0") == "dana@x.example"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["email", "name", "id", "E_Mail", "x"]), inner),
    max_leaves=20,
)
pieces = st.sampled_from(
    [
        '"',
        "'",
        "<",
        ">",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ";",
        "@",
        "\\",
        "\n",
        ":",
        ".",
        " ",
        "a",
        "Ö",
        "|",
        "&lt;",
        "\u200b",
    ]
)


@given(anything | st.lists(pieces).map("".join) | anything.map(lambda v: json.dumps(v)))
def test_garbage_never_raises_and_nobody_is_empty(value: Any) -> None:
    for mention in parse_attendees(value):
        assert mention.email or mention.name or mention.gsid
        assert visible(f"{mention.email}{mention.name}") == f"{mention.email}{mention.name}"
        assert mention.email is None or ("@" in mention.email and mention.email == mention.email.lower())


@pytest.mark.parametrize(
    "text",
    [
        "[" * 900 + "]" * 900,
        '{"a":' * 400 + "1" + "}" * 400,
        "[" * 5000,
        "x" * 200_000 + " @",
        "a@" * 50_000,
        '"' * 99_999 + "@",
        "(" * 50_000 + "@",
        "<" + " " * 200_000 + "a@b",
        "\n" * 131_000,
        "a" + "\r\n" * 65_000 + "b <a@b>",
        ",\n " * 43_000,
        "a," + " " * 131_000,
        "a,b" * 43_000,
        "a, b" * 32_000 + "<",
        "a@b|" * 32_000 + "c@d",
        "&lt;" * 32_000,
        "\u200b" * 131_000 + "a@b",
        "<a@b>" * 26_000,
        "a@b (" * 26_000,
    ],
    ids=[
        "nested lists",
        "nested objects",
        "unclosed",
        "long",
        "many ats",
        "quotes",
        "brackets",
        "blanks",
        "lines",
        "lines between",
        "empty parts",
        "blanks behind a comma",
        "words",
        "surnames",
        "bars",
        "references",
        "unseen",
        "angles",
        "comments",
    ],
)
@pytest.mark.timeout(20)  # a tenth of a second each
def test_hostile_text_neither_raises_nor_hangs(text: str) -> None:
    parse_attendees(text)
