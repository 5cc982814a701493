"""Composes activities: who writes to whom, about what, in which language, and how the row lists them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from frame_gainsight.sandbox.query.dates import DAY, MINUTE, SECOND
from frame_gainsight.sandbox.query.schema import Row
from frame_gainsight.sandbox.tenant.activity import NO_BODY, Activity, Address, Body, Composed, Quote
from frame_gainsight.sandbox.tenant.attendee_formats import FORMS, angle
from frame_gainsight.sandbox.tenant.gsid import digest, gsid
from frame_gainsight.sandbox.tenant.names import NAME_ONLY, VENDOR_DOMAIN
from frame_gainsight.sandbox.tenant.phrases import LANGUAGES, WEIGHTS, Language
from frame_gainsight.sandbox.tenant.world import World, address_of

LONGEST_BODY = 131_000
"""Characters: the longest body that Auto Email Capture keeps."""

_DEFAULT_FORMS = tuple(f for f in FORMS if f not in ("gsids", "null"))
_SOURCES = ("EMAIL", "C360", "R360", "API", "WIDGET")
_OPEN_THREADS = 200


@dataclass(frozen=True, slots=True)
class _Thread:
    conversation: str
    subject: str
    company: Row
    relationship: str | None
    customer: Address
    agent: Row
    language: Language
    last: Quote
    from_agent: bool


class EmailGenerator:
    """Writes one activity after the other from one stream of chance; replies go to threads it wrote before.

    Args:
        companies: those whose people write; None: all.
    """

    def __init__(self, world: World, rng: Random, label: str, companies: Sequence[Row] | None = None) -> None:
        self._world = world
        self._rng = rng
        self._label = label
        self._threads: list[_Thread] = []
        self._companies = [c for c in companies or world.rows("company") if world.members.get(str(c["Gsid"]))]
        self._agents = [u for u in world.rows("gsuser") if u["IsActiveUser"]]
        self._by_id = {u["Gsid"]: u for u in self._agents}
        self._relationships: dict[str, list[str]] = {}
        for row in world.rows("relationship"):
            self._relationships.setdefault(str(row["CompanyId"]), []).append(str(row["Gsid"]))
        self._count = 0

    def email(self, logged_ms: int, *, long_body: bool = False) -> Activity:
        """An email that was logged in the timeline at `logged_ms`; it was sent minutes to years before."""
        rng = self._rng
        thread = rng.choice(self._threads) if self._threads and rng.random() < 0.45 else self._opened()
        occurred = self._occurred(logged_ms)
        body, picks = self._body(thread, thread.last if thread.last.picks else None, long_body=long_body)
        agent, customer = address_of(thread.agent), thread.customer
        from_agent = not thread.from_agent
        sender, first = (agent, customer) if from_agent else (customer, agent)
        extra_customers, extra_agents = self._others(thread)
        to = (first, *(extra_customers if from_agent else extra_agents)[:1])
        internal = (agent, *extra_agents)
        external = (customer, *extra_customers)
        form, headers = self._forms()
        chance = rng.random()
        if chance < 0.06:  # only From and To are listed
            internal, external = (), ()
        elif chance < 0.09:  # a colleague whom the tenant does not know as a user
            internal = (*internal, self._stranger(VENDOR_DOMAIN))
        if chance > 0.99:
            external = (*external, Address(rng.choice(NAME_ONLY), None))
        activity = self._activity(
            type_name="Email",
            logged_ms=logged_ms,
            occurred_ms=occurred,
            subject=thread.subject,
            body=body,
            thread=thread,
            sender=sender,
            to=to,
            internal=internal,
            external=external,
            conversation=thread.conversation if rng.random() < 0.95 else None,
            form=form,
            headers=headers,
            source="EMAIL" if rng.random() < 0.8 else rng.choice(_SOURCES),
        )
        self._remember(thread, sender, first, occurred, picks, from_agent)
        return activity

    def other(self, logged_ms: int) -> Activity:
        """A call, a meeting, an update or something of a type that the tenant made itself."""
        rng = self._rng
        thread = self._opened()
        kind = rng.choice(("Call", "Call", "Meeting", "Meeting", "Update", "QBR"))
        extra_customers, extra_agents = self._others(thread)
        form, headers = self._forms()
        body, _ = self._body(thread, None)
        return self._activity(
            type_name=kind,
            logged_ms=logged_ms,
            occurred_ms=self._occurred(logged_ms),
            subject=f"{kind}: {thread.subject}",
            body=body,
            thread=thread,
            sender=None,
            to=(),
            internal=(address_of(thread.agent), *extra_agents),
            external=() if kind == "Update" else (thread.customer, *extra_customers),
            conversation=None,
            form=form,
            headers=headers,
            source=rng.choice(_SOURCES[1:]),
        )

    def edited(self, activity: Activity, at_ms: int) -> Activity:
        """The next version of `activity`: another subject sometimes, one more line always, LastModifiedDate moved."""
        rng = self._rng
        line = rng.choice(
            ("Edited: the date is settled.", "Nachtrag: erledigt ✅", "Correction: two sites, not three.")
        )
        subject = activity.subject
        if rng.random() < 0.5:
            subject = f"{subject or ''} [updated]".strip()
        return replace(
            activity,
            subject=subject,
            body=activity.body.appended(f"{line} ({at_ms // SECOND})"),
            modified_ms=at_ms,
            created_ms=activity.created_ms,
        )

    def _activity(
        self,
        *,
        type_name: str,
        logged_ms: int,
        occurred_ms: int,
        subject: str | None,
        body: Body,
        thread: _Thread,
        sender: Address | None,
        to: tuple[Address, ...],
        internal: tuple[Address, ...],
        external: tuple[Address, ...],
        conversation: str | None,
        form: str,
        headers: str,
        source: str,
    ) -> Activity:
        rng, world = self._rng, self._world
        self._count += 1
        key = gsid("1I00", world.seed, self._label, self._count)
        company = str(thread.company["Gsid"])
        context, context_id = ("Relationship", thread.relationship) if thread.relationship else ("Company", company)
        if rng.random() < 0.04:
            context = rng.choice(("CTA", "SuccessPlan"))
            context_id = gsid("1S01" if context == "CTA" else "1S02", world.seed, company, rng.randrange(9))
        topics = world.picklists["activity.Topics"].items
        return Activity(
            gsid=key,
            type_name=type_name,
            subject=subject if rng.random() < 0.99 else None,
            body=body if rng.random() < 0.99 else NO_BODY,
            occurred_ms=occurred_ms,
            created_ms=logged_ms,
            modified_ms=logged_ms,
            author=str(thread.agent["Gsid"]) if rng.random() < 0.97 else None,
            logged_by=str(thread.agent["Gsid"]),
            company=company,
            relationship=thread.relationship,
            context=context,
            context_id=context_id,
            sender=sender,
            to=to,
            internal=internal,
            external=external,
            conversation=conversation,
            sentiment=rng.choice(world.picklists["activity.Sentiment"].items)[0] if rng.random() < 0.2 else None,
            topics=tuple(i[0] for i in rng.sample(topics, rng.randrange(1, 3))) if rng.random() < 0.15 else (),
            source=source,
            form=form,
            headers=headers,
            plain=rng.random() < 0.75,
            minutes=None if type_name in ("Email", "Update") else rng.choice((15, 30, 60)),
        )

    def _opened(self) -> _Thread:
        rng, world = self._rng, self._world
        company = rng.choice(self._companies)
        company_id = str(company["Gsid"])
        customer = address_of(rng.choice(world.members[company_id]))
        if rng.random() < 0.05:
            customer = self._stranger(str(company["Domain__gc"]))
        csm = self._by_id.get(company["Csm"])
        agent = csm if csm and rng.random() < 0.8 else rng.choice(self._agents)
        language = rng.choices(LANGUAGES, WEIGHTS)[0]
        relations = self._relationships.get(company_id)
        return _Thread(
            conversation=f"{digest(world.seed, self._label, 'thread', self._count, len(self._threads)) >> 64:032x}",
            subject=rng.choice(language.subjects),
            company=company,
            relationship=rng.choice(relations) if relations and rng.random() < 0.6 else None,
            customer=customer,
            agent=agent,
            language=language,
            last=Quote("", 0, "", "", (), False),
            from_agent=rng.random() < 0.45,
        )

    def _remember(
        self,
        thread: _Thread,
        sender: Address,
        to: Address,
        sent_ms: int,
        picks: tuple[int, ...],
        from_agent: bool,
    ) -> None:
        subject = thread.subject if thread.subject.startswith("Re: ") else f"Re: {thread.subject}"
        quote = Quote(angle(sender), sent_ms, angle(to), thread.subject, picks, self._rng.random() < 0.5)
        self._threads = [t for t in self._threads if t.conversation != thread.conversation][-_OPEN_THREADS:]
        self._threads.append(replace(thread, subject=subject, last=quote, from_agent=from_agent))

    def _body(
        self, thread: _Thread, quote: Quote | None, *, long_body: bool = False
    ) -> tuple[Composed, tuple[int, ...]]:
        rng = self._rng
        picks = tuple(rng.randrange(len(thread.language.sentences)) for _ in range(rng.randrange(1, 6)))
        to = (thread.customer.name or "all").partition(" ")[0]
        body = Composed(thread.language, to, picks, str(thread.agent["Name"]), quote)
        if long_body:
            per_repeat = len(body.html) - len(replace(body, repeat=0).html)
            body = replace(body, repeat=max(1, (LONGEST_BODY - len(body.html)) // per_repeat))
        return body, picks

    def _others(self, thread: _Thread) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
        """Further customers and further agents; few emails have any."""
        rng = self._rng
        pool = self._world.members[str(thread.company["Gsid"])]
        customers = [address_of(p) for p in rng.sample(pool, min(len(pool), rng.choice((0, 0, 0, 1, 2))))]
        if rng.random() < 0.04:
            customers.append(self._stranger(str(thread.company["Domain__gc"])))
        agents = [address_of(rng.choice(self._agents))] if rng.random() < 0.25 else []
        return (
            tuple(c for c in customers if c.email != thread.customer.email),
            tuple(a for a in agents if a.email != thread.agent["Email"]),
        )

    def _stranger(self, domain: str) -> Address:
        """Somebody with an address but no record in the tenant."""
        number = self._rng.randrange(10_000)
        return Address(None, f"contact{number}@{domain}")

    def _forms(self) -> tuple[str, str]:
        rng = self._rng
        form = rng.choice(_DEFAULT_FORMS)
        delimiter = ";" if rng.random() < 0.3 else ","
        # A bare name is of use only beside its email.
        headers = "angle" if form == "names" or rng.random() < 0.5 else "emails"
        return f"{form}{delimiter}", f"{headers}{',' if rng.random() < 0.7 else ';'}"

    def _occurred(self, logged_ms: int) -> int:
        rng = self._rng
        chance = rng.random()
        if chance < 0.9:
            ago = rng.randrange(1, 180) * MINUTE
        elif chance < 0.98:
            ago = rng.randrange(1, 30) * DAY
        else:
            ago = rng.randrange(300, 1500) * DAY
        return (logged_ms - ago) // SECOND * SECOND
