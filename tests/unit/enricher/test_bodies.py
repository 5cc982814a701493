"""Bodies: a text whenever there is any body, as a reader would see it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enricher.bodies import bodies, to_text

TEXTS = {
    "blocks": ("<p>Hi Dana,</p><p>the form.</p>", "Hi Dana,\n\nthe form."),
    "divs": ("<div>one</div><div>two</div>", "one\n\ntwo"),
    "inline": ("<p>a <b>bold</b>, <i>it</i>alic and <a href='x'>link</a></p>", "a bold, italic and link"),
    "br": ("one<br>two<br/>three", "one\ntwo\nthree"),
    "a list": ("<ul><li>one</li><li>two</li></ul>", "one\n\ntwo"),
    "a table": ("<table><tr><td>a</td><td>b</td></tr></table>", "a\n\nb"),
    "quoted": ("<p>Yes.</p><blockquote><p>Will you?</p></blockquote>", "Yes.\n\nWill you?"),
    "entities": ("<p>Fish &amp; chips &lt;3 &#8364;5&nbsp;&eacute;</p>", "Fish & chips <3 €5 é"),
    "blanks": ("<p>  a \n\t b   c </p>", "a b c"),
    "script": ("<p>a</p><script>alert('<p>x</p>')</script><style>p{}</style><p>b</p>", "a\n\nb"),
    "head": ("<html><head><title>T</title></head><body>b</body></html>", "b"),
    "comments": ("a<!-- hidden --><b>b</b>", "ab"),
    "unclosed": ("<p>a<p>b<div>c", "a\n\nb\n\nc"),
    "misnested": ("<b><p>a</b>b</p></div>", "ab"),
    "pre": ("<pre>one\n  two\nthree</pre>", "one\ntwo\nthree"),
    "no text": ("<p><img src='x'></p>", ""),
    "four bytes": ("<p>🔥 田中</p>", "🔥 田中"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_the_text_of_html(case: str) -> None:
    html, expected = TEXTS[case]
    lines = [line for line in to_text(html).split("\n") if line]
    assert lines == [line for line in expected.split("\n") if line]
    text, kept = bodies(html, None)
    assert (text, kept) == (to_text(html), html)


def test_paragraphs_are_parted_by_one_empty_line_at_most() -> None:
    assert to_text("<div><div><p>a</p></div></div><div><p>b</p></div>") == "a\n\nb"


def test_the_tenants_own_text_is_preferred() -> None:
    assert bodies("<p>a</p>", "A text\n") == ("A text\n", "<p>a</p>")
    assert bodies("<p>a</p>", " ") == ("a", "<p>a</p>")
    assert bodies(None, "A text") == ("A text", None)


@pytest.mark.parametrize(
    "text",
    [
        "just text",
        "two\nlines",
        "3 < 5 and 6 > 4",
        "Dana <dana@x.example> wrote:",
        "see <https://x.example/a>",
        "AT&T",
        "<" + " " * 5,
        "a<b",
    ],
)
def test_notes_without_any_tag_is_text(text: str) -> None:
    assert bodies(text, None) == (text, None)


def test_notes_without_any_tag_has_its_references_read() -> None:
    assert bodies("Fish &amp; chips\n&#39;here&#39;", None) == (
        "Fish & chips\n'here'",
        "Fish &amp; chips\n&#39;here&#39;",
    )


@pytest.mark.parametrize("html", [None, "", " \n\t", "\0"])
@pytest.mark.parametrize("text", [None, "", "   ", "\0"])
def test_nothing_is_no_body(html: str | None, text: str | None) -> None:
    assert bodies(html, text) == (None, None)


def test_nuls_are_left_out() -> None:
    assert bodies("<p>a\0b</p>", None) == ("ab", "<p>ab</p>")
    assert bodies(None, "a\0b") == ("ab", None)
    assert bodies("a&#0;b", None)[0] == "a\ufffdb"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 10_000 + "deep" + "</div>" * 10_000,
        "<b><i>" * 10_000 + "deep",
        "<table><tr><td>" * 3_000 + "deep",
        "<blockquote>" * 10_000 + "deep",
    ],
    ids=["div", "inline", "table", "blockquote"],
)
def test_deep_nesting(html: str) -> None:
    assert to_text(html) == "deep"


@pytest.mark.timeout(20)
def test_the_longest_body_and_hostile_ones() -> None:
    long = "<p>" + "word 🔥 " * 18_714 + "</p>"
    assert len(long) > 131_000
    assert len(to_text(long)) == len(long) - len("<p></p>") - 1
    for hostile in (
        "<" * 131_000,
        "<" + " " * 131_000,
        "&" * 131_000,
        "<a " * 43_000,
        " \n" * 65_000 + "x",
        "<p>" * 43_000,
    ):
        bodies(hostile, None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "html", ["<p>" + "word 🔥 " * 1_500_000 + "</p>", "<div>" * 100_000 + "deep", "<" * 10_000_000]
)
def test_far_more_than_a_tenant_may_send(html: str) -> None:
    assert bodies(html, None)[0]


@given(st.none() | st.text(), st.none() | st.text())
def test_there_is_a_text_whenever_there_is_a_body(html: str | None, text: str | None) -> None:
    body_text, body_html = bodies(html, text)
    there = bool((html or "").replace("\0", "").strip() or (text or "").replace("\0", "").strip())
    assert (body_text is not None) == there
    assert "\0" not in (body_text or "") + (body_html or "")
    assert body_html is None or there


tags = st.sampled_from(
    ["<p>", "</p>", "<div", ">", "<b>", "</b>", "<!--", "-->", "&amp;", "&", "<br/>", "x", " ", "\n", "<td>", "]]>"]
)


@given(st.lists(tags).map("".join))
def test_broken_html_never_raises(html: str) -> None:
    text, kept = bodies(html, None)
    assert kept in (None, html)
    assert (text is None) == (not html.strip())
    folded = to_text(html)
    assert folded == folded.strip()
    assert "\n\n\n" not in folded
