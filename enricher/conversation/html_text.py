"""HTML to text, with its quoted parts, whatever the state of the HTML.

libxml2 reads the markup and reports each tag as it comes; no tree is made, so the cost grows with the length alone. The
cost of a tree is in the sender's hands: a parser opens every unclosed <font> anew in each paragraph.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from lxml import etree

_NAME = r"/?[a-zA-Z][a-zA-Z0-9-]*(?::[a-zA-Z][a-zA-Z0-9]*)?"
_WHOLE_TAG = re.compile(rf"<(?P<name>{_NAME})(?=[\s/>])(?P<rest>[^<>]*)>")
# Anything but a tag is text: <dana@x.example>, <https://x.example>, <first_name>, and a single <.
_NO_TAG = re.compile(rf"<(?!{_NAME}(?:[\s/>]|\Z)|[!?])")
_ANY_TAG = re.compile(r"<[^<>]*>")
_UNSEEN = ("script", "style", "title", "template", "noscript")
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
_KEEPING_LINES = _names("listing pre textarea xmp")
_ELEMENTS = _BLOCKS | _KEEPING_LINES | frozenset(_UNSEEN)
_ELEMENTS |= _names(
    """a abbr acronym applet area audio b base basefont bdi bdo bgsound big blink br button canvas caption cite code col
    colgroup data datalist del details dfn dialog dir em embed figcaption font frame frameset head hgroup html i iframe
    image img input ins kbd label legend link map mark marquee math menu meta meter nobr noembed noframes o:p object
    optgroup option output param picture plaintext progress q rb rp rt rtc ruby s samp search select slot small source
    span strike strong sub summary sup svg time track tt u var video wbr"""
)
# Elements of which a single start tag already shows that a text is HTML. The others are also words that people put into
# <angle> brackets: only an end tag or an attribute shows it.
_UNMISTAKABLE = _names(
    "blockquote body br div font frameset h1 h2 h3 h4 h5 h6 hr html img li ol p pre span tbody td th tr ul"
)
_BLANKS = re.compile(r"[^\S\n]+")
_EDGES = re.compile(r" *\n *")
_GAPS = re.compile(r"\n{3,}")


def bodies(html: str | None, text: str | None) -> tuple[str | None, str | None]:
    """(body_text, body_html) out of Notes and NotesPlainText. There is a text whenever there is any body.

    Notes without a tag of HTML are text, apart from character references. White space alone is no body. NULs, which
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

    Text behind an unclosed comment or title is shown, since there may be nothing else.
    """
    html = _NO_TAG.sub("&lt;", html.replace("\r\n", "\n").replace("\r", "\n"))
    target: Any = _Reader()  # lxml calls those methods that there are
    parser = etree.HTMLParser(target=target, encoding="utf-8", huge_tree=True)
    # Within an element: libxml2 puts text outside of any into a paragraph.
    parser.feed(b"<div>" + _without_long_numbers(_unhidden(html)).encode("utf-8", "replace"))
    text = _folded(str(parser.close()))
    if not text and any(html.count(quote) % 2 for quote in "\"'"):  # an unclosed quote hides all behind it
        text = _folded(unescape(_ANY_TAG.sub("\n", html)))
    return text


class _Reader:
    """Collects the text of the tags and data that the parser reports."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._hidden = 0
        self._keeping = 0
        self._begins = False  # nothing of an element that keeps its lines was read yet

    def start(self, tag: str, attributes: object) -> None:
        if tag in _UNSEEN:
            self._hidden += 1
        elif tag == "br":
            self._parts.append("\n")
        elif tag in _BLOCKS:
            self._parts.append("\n\n" if tag == "hr" else "\n")
        if tag in _KEEPING_LINES:
            self._keeping += 1
            self._begins = True

    def end(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _BLOCKS:
            self._parts.append("\n\n" if tag == "p" else "\n")
        if tag in _KEEPING_LINES:
            self._keeping = max(0, self._keeping - 1)

    def data(self, text: str) -> None:
        if self._hidden:
            return
        if self._keeping:
            text = text.removeprefix("\n") if self._begins else text
            self._begins = False
        else:
            text = text.replace("\n", " ")
        self._parts.append(text)

    def comment(self, text: str) -> None:
        """Comments are no text."""

    def close(self) -> str:
        return "".join(self._parts)


def _unhidden(html: str) -> str:
    """The HTML without the start of an unclosed comment or element that would hide all behind it."""
    if (at := html.rfind("<!--")) >= 0 and html.find("--", at + 4) < 0:
        html = html[:at] + html[at + 4 :]
    lower = html.lower()
    for name in _UNSEEN:
        at = lower.rfind(f"<{name}")
        if name not in _CODE and at >= 0 and lower.find(f"</{name}", at) < 0:
            html = f"{html[:at]}<br{html[at + 1 + len(name) :]}"
            lower = html.lower()
    return html


def _folded(text: str) -> str:
    return _GAPS.sub("\n\n", _EDGES.sub("\n", _BLANKS.sub(" ", text))).replace("\0", "").strip()


def _is_html(text: str) -> bool:
    """Whether a text has markup that is not there by chance."""
    if "<!--" in text or text.lstrip()[:9].lower() == "<!doctype":
        return True
    for found in _WHOLE_TAG.finditer(text):
        name = found["name"].lower()
        if name in _UNMISTAKABLE or (name in _ELEMENTS and "=" in found["rest"]):
            return True
        if name[0] == "/" and name[1:] in _ELEMENTS:
            return True
    return False


def _without_references(text: str) -> str:
    if "&" not in text:
        return text
    return unescape(_without_long_numbers(text)).replace("\0", "")


def _without_long_numbers(text: str) -> str:
    """The text without long character references: above seven digits none is a character, and Python refuses to read
    thousands of them."""
    return _LONG_NUMBER.sub(lambda found: "\ufffd" if found[1] else "&#", text)
