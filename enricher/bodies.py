"""Bodies: text out of HTML, with its quoted parts, whatever the state of the HTML.

One pass over the markup, and no tree of elements: a body costs what its length says, whoever wrote it. What a tree
costs its sender decides, for a parser opens every unclosed <font> anew in each paragraph that follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

# A tag, not <dana@x.example> or <https://x.example>, which people write too; cut off, where the body ends with it.
_TAG = r"(?P<name>/?[a-zA-Z][a-zA-Z0-9-]*(?::[a-zA-Z][a-zA-Z0-9]*)?)(?=[\s/>]|\Z)"
_MARKUP = re.compile(rf"<(?:{_TAG}|!--|!|\?|/(?![a-zA-Z]))")
_WHOLE_TAG = re.compile(rf"<{_TAG}(?P<rest>[^<>]*)>")
_END_OF_COMMENT = re.compile("--!?>")
_QUOTE_OR_END = re.compile("=\\s*([\"'])|>")
_END_OF_UNSEEN = {
    name: re.compile(rf"</{name}(?=[\s/>]|\Z)", re.IGNORECASE | re.ASCII)
    for name in ("script", "style", "title", "template", "noscript")
}
_CODE = frozenset({"script", "style"})
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_LONG_NUMBER = re.compile(r"&#0*([1-9][0-9]{7,});?|&#0+(?=[0-9])")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TABLE = _names("tbody td tfoot th thead tr")
_BLOCKS = _TABLE | _names(
    """address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr
    li main nav ol p pre section table ul"""
)
# Elements that are often left open → what closes them, besides the end of what they are in.
_CLOSED_BY = (
    {"p": _BLOCKS, "li": _names("li"), "tr": _TABLE - _names("td th")}
    | dict.fromkeys(("dd", "dt"), _names("dd dt"))
    | dict.fromkeys(("td", "th"), _TABLE)
)
_KEEPING_LINES = _names("listing pre textarea xmp")
_ELEMENTS = _BLOCKS | _KEEPING_LINES | frozenset(_END_OF_UNSEEN)
_ELEMENTS |= _names(
    """a abbr acronym applet area audio b base basefont bdi bdo bgsound big blink br button canvas caption cite code col
    colgroup data datalist del details dfn dialog dir em embed figcaption font frame frameset head hgroup html i iframe
    image img input ins kbd label legend link map mark marquee math menu meta meter nobr noembed noframes o:p object
    optgroup option output param picture plaintext progress q rb rp rt rtc ruby s samp search select slot small source
    span strike strong sub summary sup svg time track tt u var video wbr"""
)
# Elements of which a single start tag already shows that a text is HTML. Of the others, which are also words that
# people put into <angle> brackets, an end tag or an attribute does.
_TELLING = _names(
    "blockquote body br div font frameset h1 h2 h3 h4 h5 h6 hr html img li ol p pre span tbody td th tr ul"
)
_BLANKS = re.compile(r"[^\S\n]+")
_EDGES = re.compile(r" *\n *")
_GAPS = re.compile(r"\n{3,}")


def bodies(html: str | None, text: str | None) -> tuple[str | None, str | None]:
    """(body_text, body_html) out of Notes and NotesPlainText. There is a text whenever there is any body.

    Notes without any tag of HTML is text, after its character references. White space alone is no body. NULs, which
    neither text nor HTML may hold, are left out.
    """
    html = html.replace("\0", "") if html else None
    text = text.replace("\0", "") if text else None
    html = html if html and html.strip() else None
    text = text if text and text.strip() else None
    if html and not _is_html(html):
        if not _REFERENCE.search(html):
            return text or html, None
        return text or _without_references(html), html
    return text or (to_text(html) if html else None), html


def to_text(html: str) -> str:
    """The text as a reader would see it: blocks on lines of their own, blanks folded; quoted text stays.

    What an unclosed comment, title or attribute would hide is shown, since there may be nothing besides.
    """
    html = html.replace("\r\n", "\n").replace("\r", "\n") if "\r" in html else html
    parts: list[str] = []
    shown, keeping, opened = 0, 0, ""  # opened: the block just begun, if it may be left open
    for start, end, name in _markup(html):
        if shown < start:
            parts.append(_inline(html[shown:start], keeping > 0))
        shown = end
        element = name.removeprefix("/")
        if element == "br":
            parts.append("\n")
        elif element in _BLOCKS:
            begins = element == name
            if opened and (element in _CLOSED_BY[opened] if begins else element != opened):
                parts.append(_break_after(opened))
            if begins:
                parts.append("\n\n" if element == "hr" else "\n")
            else:
                parts.append(_break_after(element))
            opened = element if begins and element in _CLOSED_BY else ""
        if element in _KEEPING_LINES:
            keeping = keeping + 1 if name == element else max(0, keeping - 1)
            shown += name == element and html.startswith("\n", end)
    parts.append(_inline(html[shown:], keeping > 0))
    text = _BLANKS.sub(" ", "".join(parts))
    return _GAPS.sub("\n\n", _EDGES.sub("\n", text)).strip()


def _is_html(text: str) -> bool:
    """Whether a text has markup that nobody writes by chance."""
    if "<!--" in text or text.lstrip()[:9].lower() == "<!doctype":
        return True
    for found in _WHOLE_TAG.finditer(text):
        name = found["name"].lower()
        if name in _TELLING or (name in _ELEMENTS and "=" in found["rest"]):
            return True
        if name[0] == "/" and name[1:] in _ELEMENTS:
            return True
    return False


def _markup(html: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, name) of everything in HTML that is not text. The name is lower case, `/p` for an end tag, and ""
    for comments and for elements that nobody sees, of which one piece spans all the content.

    Takes linear time, whatever the HTML: what was looked for in vain is not looked for again.
    """
    at = 0
    missing: set[str] = set()  # the ends of which there are no more
    while found := _MARKUP.search(html, at):
        start, at = found.span()
        name = (found["name"] or "").lower()
        if found[0] == "<!--":
            closing = None if "-->" in missing else _END_OF_COMMENT.search(html, start + 2)  # <!--> is a comment, too
            if closing is None:
                missing.add("-->")
            at = closing.end() if closing else at
            yield start, at, ""
            continue
        end = _end_of_tag(html, at, missing) if name else _after(html, ">", at, missing)
        if end is None and (name.removeprefix("/") in _ELEMENTS or at == len(html)):
            end = html.find("<", at)  # it was cut off: so it is where the body was too long for the tenant
            end = len(html) if end < 0 else end
        if end is None:
            continue
        at = end
        if name in _END_OF_UNSEEN:
            closing = None if name in missing else _END_OF_UNSEEN[name].search(html, at)
            if closing is None:
                missing.add(name)
            if closing is not None or name in _CODE:
                name, at = "", closing.start() if closing else _next_tag(html, at)
        yield start, at, name


def _end_of_tag(html: str, at: int, missing: set[str]) -> int | None:
    """Where the tag whose name ends at `at` ends: behind the first `>` outside of quoted values. Where there is none,
    quotes are no longer heeded: in there a quote was never closed."""
    begun = at
    while "tag" not in missing and (found := _QUOTE_OR_END.search(html, at)):
        at = found.end()
        if not (quote := found[1]):
            return at
        at = _after(html, quote, at, missing) or at
    missing.add("tag")
    return _after(html, ">", begun, missing)


def _after(html: str, sign: str, at: int, missing: set[str]) -> int | None:
    found = -1 if sign in missing else html.find(sign, at)
    if found < 0:
        missing.add(sign)
        return None
    return found + 1


def _next_tag(html: str, at: int) -> int:
    """Where the next tag of HTML begins: there ends code that nobody ended."""
    for found in _MARKUP.finditer(html, at):
        if (found["name"] or "").lower().removeprefix("/") in _ELEMENTS:
            return found.start()
    return len(html)


def _break_after(block: str) -> str:
    return "\n\n" if block == "p" else "\n"


def _inline(text: str, keeping: bool) -> str:
    text = _without_references(text)
    return _BLANKS.sub(" ", text if keeping else text.replace("\n", " "))


def _without_references(text: str) -> str:
    if "&" not in text:
        return text
    # Python refuses to read numbers of thousands of digits; more than seven are no character.
    text = _LONG_NUMBER.sub(lambda found: "\ufffd" if found[1] else "&#", text)
    return unescape(text).replace("\0", "")
