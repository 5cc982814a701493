"""Reads one real email, however broken: every message gives a subject, people, dates and a body."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email import message_from_bytes
from email.header import decode_header
from email.message import EmailMessage, Message
from email.policy import default
from email.utils import getaddresses, parsedate_to_datetime
from html.parser import HTMLParser

from frame_gainsight.sandbox.query.dates import moment
from frame_gainsight.sandbox.tenant.activity import Address

_BROKEN = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError)
"""What the standard library's email package raises on headers and parts that it cannot make sense of."""

_EMAIL = re.compile(r"^[^\s@<>,;:\"]+@[^\s@<>,;:\"]+$")
_LONGEST = 131_000


@dataclass(frozen=True, slots=True)
class Mailed:
    """The content of a message; whatever is missing or unreadable is None or empty."""

    subject: str | None
    sender: Address | None
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    sent_ms: int | None
    message_id: str | None
    thread: str | None
    text: str | None
    html: str | None


def read_message(raw: bytes) -> Mailed:
    """Read a message.  Never raises: what cannot be parsed is kept as raw decoded text."""
    message = message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    sender = _addresses(message, "From")
    own = _ids(_header(message, "Message-ID"))
    thread = [*_ids(_header(message, "References")), *_ids(_header(message, "In-Reply-To")), *own]
    text, html = _bodies(message, raw)
    return Mailed(
        subject=_header(message, "Subject"),
        sender=sender[0] if sender else None,
        to=(*_addresses(message, "To"), *sender[1:]),
        cc=_addresses(message, "Cc"),
        sent_ms=_date(message),
        message_id=own[0] if own else None,
        thread=thread[0] if thread else None,
        text=text,
        html=html,
    )


def clean(text: str) -> str:
    """`text` without what JSON cannot carry (lone surrogates) and without control characters; at most 131,000 long."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    return "".join(c for c in text if c >= " " or c in "\n\t")[:_LONGEST]


def _header(message: EmailMessage, name: str) -> str | None:
    """A header's decoded value; when the parser chokes on it, decoded word by word."""
    try:
        value = message[name]
        text = None if value is None else str(value)
    except _BROKEN:
        text = next((_decoded(raw) for key, raw in message.raw_items() if key.lower() == name.lower()), None)
    text = clean(" ".join(text.split())) if text else None
    return text or None


def _decoded(raw: str) -> str:
    try:
        parts = decode_header(raw)
    except _BROKEN:
        return raw
    return "".join(p if isinstance(p, str) else _text_of(p, charset) for p, charset in parts)


def _text_of(content: bytes, charset: str | None) -> str:
    """Bytes as text: in the charset named if that works, else UTF-8, else Latin-1 (which always does)."""
    for name in (charset, "utf-8"):
        try:
            return content.decode(name or "utf-8")
        except (LookupError, ValueError):
            continue
    return content.decode("latin-1")


def _addresses(message: EmailMessage, name: str) -> tuple[Address, ...]:
    """The addresses of a header.  What is no address is left out: a timeline keeps only whom it can parse."""
    raws = [_decoded(str(raw)) for key, raw in message.raw_items() if key.lower() == name.lower()]
    try:
        pairs = getaddresses([" ".join(raw.split()) for raw in raws])
    except _BROKEN:
        pairs = []
    found: dict[str, Address] = {}
    for shown, email in pairs:
        address = clean(email).strip()
        if _EMAIL.match(address):
            found.setdefault(address.lower(), Address(" ".join(clean(shown).split()) or None, address))
    return tuple(found.values())


def _date(message: EmailMessage) -> int | None:
    value = _header(message, "Date")
    if value is None:
        return None
    try:
        return moment(parsedate_to_datetime(value)) // 1000 * 1000
    except (*_BROKEN, OverflowError):
        return None


def _ids(value: str | None) -> list[str]:
    return re.findall(r"<([^<>\s]+)>", value or "")


def _bodies(message: EmailMessage, raw: bytes) -> tuple[str | None, str | None]:
    try:
        leaves = [part for part in message.walk() if not part.is_multipart()]
    except _BROKEN:
        return clean(_text_of(raw, None)) or None, None
    text = _first(leaves, "text/plain")
    html = _first(leaves, "text/html")
    if text is None and html is None and not any(_is_file(part) for part in leaves):
        text = _content(leaves[0]) if leaves else _text_of(raw, None)
    return text or None, html or None


def _first(leaves: Iterable[Message], kind: str) -> str | None:
    for part in leaves:
        if part.get_content_type() == kind and not _is_file(part):
            content = _content(part)
            if content.strip():
                return content
    return None


def _is_file(part: Message) -> bool:
    try:
        return part.get_content_disposition() == "attachment"
    except _BROKEN:
        return False


def _content(part: Message) -> str:
    try:
        payload = part.get_payload(decode=True)
    except _BROKEN:
        payload = None
    if not isinstance(payload, bytes):
        return clean(str(part.get_payload()))
    try:
        charset = part.get_content_charset()
    except _BROKEN:
        charset = None
    return clean(_text_of(payload, charset))


class _Text(HTMLParser):
    _BLOCKS = frozenset({"p", "div", "br", "li", "tr", "td", "th", "table", "ul", "ol", "hr", "blockquote", "pre"}) | {
        f"h{level}" for level in range(1, 7)
    }
    _SILENT = frozenset({"script", "style", "head", "title"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in self._SILENT
        if tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in self._SILENT))
        if tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def text_of_html(html: str) -> str:
    """The text that a reader of `html` sees, one line a block."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line)
