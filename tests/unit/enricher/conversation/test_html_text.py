"""Bodies: a text whenever there is any body, as a reader would see it."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enricher.conversation.html_text import bodies, to_text

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
    "pre begins with a line": ("a<pre>\r\none\r\n  two</pre>b", "a\none\ntwo\nb"),
    "left open": ("<table><tr><td>a<td>b<tr><td>c</table><ul><li>d<li>e</ul><dl><dt>f<dd>g", "a\nb\nc\nd\ne\nf\ng"),
    "hr": ("a<hr>b", "a\n\nb"),
    "attributes": ('<p title=\'a>b\' class="c\'>d">e<img alt = "<p>" src=x>f</p>', "ef"),
    "Outlook's": ("a<!--[if mso]><p>b</p><![endif]--><![if !mso]>c<![endif]><?xml:ns o='x'/><o:p>d</o:p>", "acd"),
    "unseen": ("<title>T</title><noscript>N</noscript><template>M</TEMPLATE >a<style\n>p{</style x>", "a"),
    "references": ("<p>&notit; &copy2026 &#128; &#x1F525; &#xD83D; &unknown;</p>", "¬it; ©2026 € 🔥 \ufffd &unknown;"),
    "no text": ("<p><img src='x'></p>", ""),
    "a sign in an attribute": ("<p><img src='x' alt='y>z'></p>", ""),
    "nothing but comments": ("<p><!--[if mso]><p>no</p><![endif]--><!-- c <p> --><b></b></p>", ""),
    "nothing but code": ("<html><style>p{}</style><p><img src='x'></p></html>", ""),
    "four bytes": ("<p>🔥 田中</p>", "🔥 田中"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_the_text_of_html(case: str) -> None:
    html, expected = TEXTS[case]
    lines = [line for line in to_text(html).split("\n") if line]
    assert lines == [line for line in expected.split("\n") if line]
    text, kept = bodies(html, None)
    assert (text, kept) == (to_text(html), html)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<!-- <p>Hello</p>", "Hello"),
        ("<p>a<!-- b -->c<!-- d --></p><!-- e", "ac\n\ne"),
        ("<html><head><title>Hello <p>Dana</p>", "Hello\nDana"),
        ("<p>a</p><noscript>b", "a\n\nb"),
        ("<p>a</p><template>b", "a\n\nb"),
        ("<frameset cols='*'><frame src='x'>Hello</frameset>", "Hello"),
        ("<body><frameset></frameset>Hello</body>", "Hello"),
        ("<p>a</p><script>b", "a"),
        ("<a href='b>c</a> d", "c\nd"),
        ("<p>a <a href='b>c</a> <i class='d>e</i>", "a e"),
        ("<p>Dana <dana@x.example>, <https://x.example/a> and <first_name></p>", None),
        ("<p>3 <5, a < b, <-, <1></p>", None),
    ],
)
def test_no_text_is_hidden_by_what_was_left_open(html: str, expected: str | None) -> None:
    assert to_text(html) == (expected if expected is not None else html[3:-4])


@pytest.mark.parametrize(
    "cut", ["<", "</", "<!-", "<a", "</di", "<a href", "<a href='x y", "<a href=\"x'", "<p><img alt='a>b"]
)
def test_a_body_cut_within_its_markup_has_the_text_before(cut: str) -> None:
    text = to_text("<p>Hello" + cut)
    assert text.startswith("Hello")
    assert "href" not in text and "alt" not in text


def test_paragraphs_are_parted_by_one_empty_line_at_most() -> None:
    assert to_text("<div><div><p>a</p></div></div><div><p>b</p></div>") == "a\n\nb"
    for apart in (
        "<p>a</p><p>b</p>",
        "<p>a<p>b",
        "<p>a<div>b",
        "<div><p>a</div>b",
        "<li>a<li>b",
        "<td>a<tr><td>b",
    ):
        assert to_text(apart) == "a\n\nb"
    for together in ("<div>a<div>b", "<div>a</div>b", "a<br>b", "a<p>b", "<li>a<div>b", "a<pre>\nb</pre>"):
        assert to_text(together) == "a\nb"


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
        "Hello <name>, welcome to </company>",
        "List<String> x = new List<String>();",
        "List<Object> and Map<Integer, Object> of A<B>",
        "SELECT * FROM <table> WHERE <code> = 5 and the <title>",
        "<?xml version='1.0'?><adf><prospect>x</prospect></adf>",
    ],
)
def test_notes_without_any_tag_of_html_is_text(text: str) -> None:
    assert bodies(text, None) == (text, None)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a<br>b", "a\nb"),
        ("a<BR />b", "a\nb"),
        ("<p>Hello <name>", "Hello"),
        ("the <b>one</b>", "the one"),
        ("the <a href=x>one", "the one"),
        ("<FONT>a", "a"),
        ("a <!-- b --> c", "a c"),
        (" <!DOCTYPE html>a", "a"),
        ("a<o:p></o:p>", "a"),
    ],
)
def test_notes_with_a_tag_of_html_is_html(html: str, text: str) -> None:
    assert bodies(html, None) == (text, html)


def test_notes_without_any_tag_has_its_references_read() -> None:
    assert bodies("Fish &amp; chips\n&#39;here&#39;", None) == (
        "Fish & chips\n'here'",
        "Fish &amp; chips\n&#39;here&#39;",
    )


@pytest.mark.parametrize("within", ["%s &amp;", "<p>%s &amp;</p>"])
def test_a_reference_may_be_a_number_of_any_length(within: str) -> None:
    many = 100_000
    for reference, char in (
        ("&#" + "9" * many + ";", "\ufffd"),
        ("&#x" + "f" * many, "\ufffd"),
        ("&#" + "0" * many + "65;", "A"),
        ("&#" + "0" * many + ";", "\ufffd"),
        ("&#0000000128;", "€"),
        ("&#1114112;", "\ufffd"),
    ):
        assert bodies(within % reference, None)[0] == f"{char} &"


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


def test_the_longest_body() -> None:
    long = "<p>" + "word 🔥 " * 18_714 + "</p>"
    assert len(long) > 131_000
    assert len(to_text(long)) == len(long) - len("<p></p>") - 1


LONGEST = 131_000
FONTS = "".join(f"<font size={n}>" for n in range(500))
HOSTILE = {
    "a tag without end": "<b>" * 513 + "<" + "a" * 129_000,
    "blanks in a tag": "<a" + " " * LONGEST,
    "formatting in each paragraph": "<p>" + FONTS + "<p>x" * 30_000,
    "formatting in each cell": "<table><tr><td>" + FONTS + "<td>x" * 25_000,
    "formatting closed by another": "".join(f"<b a={n}></x>" for n in range(5_000)) + "<p>x" * 10_000,
    "links": "<p>x<a href=y>" * 9_000,
    "tables": "<table><tr><td>x" * 8_000,
    "comments": "<p>" + "<!--" * 32_000,
    "dashes": "<p><!--" + "-" * LONGEST,
    "instructions": "<p>" + "<?" * 65_000,
    "quotes": "<p>" + '<a b="' * 18_000,
    "quotes of both kinds": "<p>" + "<a b=\"'" * 16_000,
    "quoted ends": "<p>" + "<a b='>' c='" * 10_000,
    "equals": "<p>" + "<a = " * 26_000,
    "attributes": "<p " + " ".join(f"a{n}" for n in range(18_000)) + ">x",
    "titles": "<p>" + "<title>" * 18_000,
    "every unseen one": "<p>" + "<title><style><script><noscript><template>" * 3_000,
    "ends of titles": "<p><title>" + "</titl" * 21_000,
    "svg": "<svg><p>x" * 14_000,
    "templates": "<p>" + "<template>" * 13_000,
    "selections": "<p>" + "<select><option>x" * 7_000,
    "less than": "<" * LONGEST,
    "less than in HTML": "<p>" + "<" * LONGEST,
    "colons": "<p>" + "<a:" * 43_000,
    "tags without end": "<p>" + "<a " * 43_000,
    "ampersands": "<p>" + "&" * LONGEST,
    "references": "<p>" + "&#" * 65_000,
    "one reference": "<p>&#" + "0" * LONGEST,
    "blank lines": "<pre>" + " \n" * 65_000 + "x",
    "blanks": "<p>" + " " * LONGEST + "x",
    "NULs": "<\0p>x\0" * 20_000,
    "words": "<name> " * 18_000,
}


@pytest.mark.timeout(20)  # a few hundredths of a second each
@pytest.mark.parametrize("shape", HOSTILE)
def test_a_hostile_body_costs_what_its_length_says(shape: str) -> None:
    html = HOSTILE[shape]
    tracemalloc.start()
    text, _ = bodies(html, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text is not None
    assert peak < 100 * len(html)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "html",
    [
        "<p>" + "word 🔥 " * 1_500_000 + "</p>",
        "<div>" * 100_000 + "deep",
        "<" * 10_000_000,
        "<p>" + FONTS + "<p>x" * 10**6,
    ],
    ids=["words", "deep", "less than", "formatting"],
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


MARKUP = """<p> </p> <div > <b> </b> <!-- --> &amp; & &#1 <br/> x <td> ]]> < </ <? =' " <title> </title> <style </style>
<script> </script> <pre> </pre> <hr <li> <select> <frameset> <svg> <![CDATA[ <x@y>"""
tags = st.sampled_from([*MARKUP.split(), " ", "\n", "\r"])


@given(st.lists(tags).map("".join))
def test_broken_html_never_raises(html: str) -> None:
    text, kept = bodies(html, None)
    assert kept in (None, html)
    assert (text is None) == (not html.strip())
    folded = to_text(html)
    assert folded == folded.strip()
    assert "\n\n\n" not in folded
