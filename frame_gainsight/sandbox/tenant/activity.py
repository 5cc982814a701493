"""One activity of the timeline, as the generator knows it: people with addresses, a body, dates in milliseconds."""

from dataclasses import dataclass, replace
from html import escape
from typing import Protocol

from frame_gainsight.sandbox.query.dates import iso
from frame_gainsight.sandbox.tenant.phrases import Language


@dataclass(frozen=True, slots=True)
class Address:
    """Somebody written to or met; `email` as written (any case), None for a bare name."""

    name: str | None
    email: str | None


class Body(Protocol):
    """An activity's body in both forms; None where there is no body at all."""

    @property
    def text(self) -> str | None:
        """Plain text."""
        ...

    @property
    def html(self) -> str | None:
        """HTML."""
        ...

    def appended(self, line: str) -> "Body":
        """The same body with one more line at its end."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """A body that was written by somebody: real mail or the control API."""

    text: str | None
    html: str | None

    def appended(self, line: str) -> "Written":
        return Written(
            line if self.text is None else f"{self.text}\n{line}",
            f"{self.html or ''}<p>{escape(line, quote=False)}</p>",
        )


@dataclass(frozen=True, slots=True)
class Quote:
    """An earlier message, quoted below the new one."""

    sender: str
    sent_ms: int
    to: str
    subject: str
    picks: tuple[int, ...]
    headers: bool
    """Outlook's block of headers, or Gmail's one line `On ..., ... wrote:`."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A generated body: it keeps which sentences it is made of and writes them out when read, so that a million fit."""

    language: Language
    to: str
    picks: tuple[int, ...]
    signature: str
    quote: Quote | None = None
    added: tuple[str, ...] = ()
    repeat: int = 1
    """How often the sentences are repeated: long bodies."""

    def _lines(self) -> list[str]:
        sentences = self.language.sentences
        chosen = [sentences[i % len(sentences)] for i in self.picks] * self.repeat
        return [self.language.greeting.format(name=self.to), *chosen, self.language.closing, self.signature]

    def _quoted(self) -> tuple[list[tuple[str, str]], list[str]]:
        if self.quote is None:
            return [], []
        quote, sentences = self.quote, self.language.sentences
        quotation = [sentences[i % len(sentences)] for i in quote.picks]
        if not quote.headers:
            return [("", self.language.wrote.format(date=iso(quote.sent_ms)[:10], who=quote.sender))], quotation
        values = (quote.sender, iso(quote.sent_ms), quote.to, quote.subject)
        return list(zip(self.language.labels, values, strict=True)), quotation

    @property
    def text(self) -> str:
        heads, quotation = self._quoted()
        quoted = [f"{label}: {value}" if label else value for label, value in heads]
        return "\n".join([*self._lines(), *quoted, *quotation, *self.added])

    @property
    def html(self) -> str:
        heads, quotation = self._quoted()
        parts = [f"<p>{escape(line, quote=False)}</p>" for line in self._lines()]
        if heads:
            written = (
                f"<b>{escape(label)}:</b> {escape(value, quote=False)}<br>"
                if label
                else f"{escape(value, quote=False)}<br>"
                for label, value in heads
            )
            quoted = "".join(f"<p>{escape(line, quote=False)}</p>" for line in quotation)
            parts.append(f'<div class="quote"><div>{"".join(written)}</div><blockquote>{quoted}</blockquote></div>')
        parts += [f"<p>{escape(line, quote=False)}</p>" for line in self.added]
        return "".join(parts)

    def appended(self, line: str) -> "Composed":
        return replace(self, added=(*self.added, line))


NO_BODY = Written(None, None)


@dataclass(frozen=True, slots=True)
class Activity:
    """One version of an activity.  A frozen value: an edit makes a new one."""

    gsid: str
    type_name: str
    subject: str | None
    body: Body
    occurred_ms: int
    created_ms: int
    modified_ms: int
    author: str | None
    logged_by: str | None
    company: str | None
    relationship: str | None
    context: str
    context_id: str | None
    sender: Address | None
    to: tuple[Address, ...]
    internal: tuple[Address, ...]
    external: tuple[Address, ...]
    conversation: str | None
    sentiment: str | None
    topics: tuple[str, ...]
    source: str
    form: str
    """How this row writes its attendees (a name in `frame_gainsight.sandbox.tenant.attendee_formats.FORMS`)."""
    headers: str
    """How this row writes From and To, likewise."""
    plain: bool
    """Whether NotesPlainText is filled."""
    minutes: int | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Everybody named in From, To and the two lists of attendees, in this order, with repetitions."""
        first = () if self.sender is None else (self.sender,)
        return (*first, *self.to, *self.internal, *self.external)
