"""Bodies: text out of HTML, with its quoted parts, whatever the state of the HTML."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

_LOOKS_LIKE_HTML = re.compile(r"<\s*/?\s*[a-zA-Z!][^<>]*>")
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
_BLANKS = re.compile(r"[^\S\n]+")
_EDGES = re.compile(r" *\n *")
_GAPS = re.compile(r"\n{3,}")


def bodies(html: str | None, text: str | None) -> tuple[str | None, str | None]:
    """(body_text, body_html) out of Notes and NotesPlainText. There is a text whenever there is any body.

    Notes without any tag is text. NULs, which neither text nor HTML may hold, are left out.
    """
    html = html.replace("\0", "") if html else None
    text = text.replace("\0", "") if text else None
    if html and not _LOOKS_LIKE_HTML.search(html):
        return (text if text and text.strip() else html), None
    if text and text.strip():
        return text, html or None
    return (to_text(html) if html else None), html or None


def to_text(html: str) -> str:
    """The text as a reader would see it: blocks on lines of their own, blanks folded; quoted text stays."""
    root = LexborHTMLParser(html).body
    if root is None:
        return ""
    parts: list[str] = []
    _collect(root, parts)
    text = _BLANKS.sub(" ", "".join(parts))
    return _GAPS.sub("\n\n", _EDGES.sub("\n", text)).strip()


def _collect(root: LexborNode, parts: list[str]) -> None:
    """Depth first without recursion: broken mail nests thousands deep."""
    stack: list[LexborNode | str] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            parts.append(node)
        elif node.tag == "-text":
            parts.append(_BLANKS.sub(" ", (node.text_content or "").replace("\n", " ")))
        elif node.tag == "br":
            parts.append("\n")
        elif node.tag not in _UNSEEN:
            block = node.tag in _BLOCKS
            if block:
                parts.append("\n")
                stack.append("\n\n" if node.tag == "p" else "\n")
            children = list(node.iter(include_text=True))
            stack.extend(reversed(children))
