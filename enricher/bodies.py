"""Bodies: text out of HTML, with its quoted parts, whatever the state of the HTML."""

from __future__ import annotations

import re
from html import unescape

from selectolax.lexbor import LexborHTMLParser, LexborNode

# A tag, not <dana@x.example> or <https://x.example>, which plain text has too.
_LOOKS_LIKE_HTML = re.compile(r"</?[a-zA-Z][a-zA-Z0-9-]*(?::[a-zA-Z]+)?(?:[\s/][^<>]*)?>|<!--|<!doctype", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_BLOCKS = frozenset(
    {
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    }
)
_UNSEEN = frozenset({"script", "style", "head", "title", "template", "noscript"})
# Parsers take quadratic time over elements that nest without end; what a reader sees does not depend on them.
MOST_DEEP = 512  # as browsers nest at the most
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]*)[^<>]*>")
_CLOSED_BY_NEXT = frozenset({"p", "li", "dd", "dt", "td", "th", "tr", "tbody", "thead", "option"})
_EMPTY = frozenset({"br", "hr", "img", "input", "meta", "link", "col", "area", "base", "wbr", "embed", "source"})
_BLANKS = re.compile(r"[^\S\n]+")
_EDGES = re.compile(r" *\n *")
_GAPS = re.compile(r"\n{3,}")


def bodies(html: str | None, text: str | None) -> tuple[str | None, str | None]:
    """(body_text, body_html) out of Notes and NotesPlainText. There is a text whenever there is any body.

    Notes without any tag is text, after its character references. White space alone is no body. NULs, which neither
    text nor HTML may hold, are left out.
    """
    html = html.replace("\0", "") if html else None
    text = text.replace("\0", "") if text else None
    html = html if html and html.strip() else None
    text = text if text and text.strip() else None
    if html and not _LOOKS_LIKE_HTML.search(html):
        if not _REFERENCE.search(html):
            return text or html, None
        return text or unescape(html).replace("\0", ""), html
    return text or (to_text(html) if html else None), html


def to_text(html: str) -> str:
    """The text as a reader would see it: blocks on lines of their own, blanks folded; quoted text stays."""
    root = LexborHTMLParser(_shallow(html)).body
    if root is None:
        return ""
    parts: list[str] = []
    _collect(root, parts)
    text = _BLANKS.sub(" ", "".join(parts))
    return _GAPS.sub("\n\n", _EDGES.sub("\n", text)).strip()


def _shallow(html: str) -> str:
    """Without the tags of elements that nest deeper than `MOST_DEEP`; their text stays."""
    if html.count("<") <= MOST_DEEP:
        return html
    depth = 0

    def keep(found: re.Match[str]) -> str:
        nonlocal depth
        closing, name = found[1], found[2].lower()
        if name in _CLOSED_BY_NEXT or name in _EMPTY:
            return found[0]
        if closing:
            depth = max(0, depth - 1)
            return found[0] if depth < MOST_DEEP else " "
        depth += 1
        return found[0] if depth <= MOST_DEEP else " "

    return _TAG.sub(keep, html)


def _collect(root: LexborNode, parts: list[str]) -> None:
    """Depth first without recursion: broken mail nests thousands deep."""
    stack: list[tuple[LexborNode | str, bool]] = [(root, False)]
    while stack:
        node, kept = stack.pop()  # kept: inside <pre>, where lines are
        if isinstance(node, str):
            parts.append(node)
        elif node.tag == "-text":
            text = node.text_content or ""
            parts.append(_BLANKS.sub(" ", text if kept else text.replace("\n", " ")))
        elif node.tag == "br":
            parts.append("\n")
        elif node.tag not in _UNSEEN:
            if node.tag in _BLOCKS:
                parts.append("\n")
                stack.append(("\n\n" if node.tag == "p" else "\n", kept))
            inside = kept or node.tag in ("pre", "textarea")
            children = list(node.iter(include_text=True))
            stack.extend((child, inside) for child in reversed(children))
