"""The tenant's people and firms: companies, persons, users, relationships, contracts, picklists; made from a seed."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from frame_gainsight.sandbox.query.dates import DAY, SECOND, moment
from frame_gainsight.sandbox.query.schema import SCHEMAS, Picklist, Row, Value
from frame_gainsight.sandbox.tenant import names
from frame_gainsight.sandbox.tenant.activity import Address
from frame_gainsight.sandbox.tenant.gsid import gsid

EPOCH = moment("2026-03-01T00:00:00Z")
"""Everything in a new world was last modified before this moment."""


@dataclass(slots=True)
class World:
    """The tables of a tenant apart from its timeline: object name → rows.  Same seed and size, same world."""

    seed: int
    tables: dict[str, list[Row]]
    picklists: dict[str, Picklist]
    _indexes: "_Indexes | None" = field(default=None, init=False, repr=False, compare=False)

    def rows(self, name: str) -> list[Row]:
        """All rows of an object."""
        return self.tables[name]

    def copy(self) -> "World":
        """The same rows, to which nothing happens that happens to these."""
        tables = {name: [dict(row) for row in rows] for name, rows in self.tables.items()}
        return World(self.seed, tables, self.picklists)

    def index(self) -> None:
        """Forget the look-ups, which are then made anew; to be called after rows were added, changed or removed."""
        self._indexes = None

    @property
    def people(self) -> Mapping[str, Row]:
        """Lower-case email → person."""
        return self._indexed().people

    @property
    def users(self) -> Mapping[str, Row]:
        """Lower-case email → gsuser."""
        return self._indexed().users

    @property
    def members(self) -> Mapping[str, list[Row]]:
        """Company Gsid → its active persons who have an email."""
        return self._indexed().members

    @property
    def employers(self) -> Mapping[str, list[Row]]:
        """Person Gsid → company_person rows, active ones only."""
        return self._indexed().employers

    def by_id(self, name: str) -> Mapping[str, Row]:
        """Gsid → row of an object."""
        ids = self._indexed().ids
        if name not in ids:
            ids[name] = {str(row["Gsid"]): row for row in self.rows(name)}
        return ids[name]

    def _indexed(self) -> "_Indexes":
        if self._indexes is None:
            self._indexes = _Indexes(self)
        return self._indexes

    def known_id(self, email: str) -> str | None:
        """Gsid of the gsuser, else of the person, with that lower-case email."""
        row = self.users.get(email) or self.people.get(email)
        return None if row is None else str(row["Gsid"])

    def add(self, name: str, key: str | int, **values: Value) -> Row:
        """Add a row; fields not given are null, its Gsid follows from the seed, the object and `key`."""
        schema = SCHEMAS[name]
        row: Row = {f.name: None for f in schema.fields}
        row["Gsid"] = gsid(schema.prefix, self.seed, name, key)
        stamp = EPOCH - (int(str(row["Gsid"])[-6:], 36) % (400 * DAY // SECOND)) * SECOND
        row["ModifiedDate"] = stamp
        if "CreatedDate" in row:
            row["CreatedDate"] = stamp - 30 * DAY
        row.update(values)
        self.tables[name].append(row)
        return row


class _Indexes:
    """The look-ups of a world, as its rows are when this is made."""

    def __init__(self, world: World) -> None:
        persons = {p["Gsid"]: p for p in world.rows("person")}
        self.ids: dict[str, dict[str, Row]] = {}
        self.people = {str(p["Email"]).lower(): p for p in persons.values() if p["Email"]}
        self.users = {str(u["Email"]).lower(): u for u in world.rows("gsuser") if u["Email"]}
        self.members: dict[str, list[Row]] = {}
        self.employers: dict[str, list[Row]] = {}
        for row in world.rows("company_person"):
            if not row["Active"]:
                continue
            self.employers.setdefault(str(row["Person_ID"]), []).append(row)
            person = persons[row["Person_ID"]]
            if person["Email"]:
                self.members.setdefault(str(row["Company_ID"]), []).append(person)


def address_of(row: Row) -> Address:
    """How a person or user is written in an activity."""
    return Address(str(row["Name"]), str(row["Email"]) if row["Email"] else None)


def local_part(text: str) -> str:
    """`Lucía García` → `lucia.garcia`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", ".", plain).strip(".") or "x"


def build(seed: int, size: int = 60) -> World:
    """A world of `size` companies with 5 to 8 persons each and one user for every five companies (at least 12)."""
    if size < 1:
        raise ValueError(f"a tenant has at least one company, not {size}")
    rng = Random(f"world:{seed}")
    world = World(seed, {name: [] for name in SCHEMAS}, _picklists(seed))
    _users(world, rng, max(12, size // 5))
    _companies(world, rng, size)
    _persons(world, rng)
    _relationships(world, rng)
    _contracts(world, rng)
    world.index()
    return world


def _picklists(seed: int) -> dict[str, Picklist]:
    labels = {
        "company.Industry": names.INDUSTRIES,
        "company.Stage": names.STAGES,
        "relationship.Stage": names.RELATIONSHIP_STAGES,
        "activity.Sentiment": names.SENTIMENTS,
        "activity.Topics": names.TOPICS,
    }
    return {
        key: Picklist(
            gsid("1I01", seed, "category", key),
            tuple((gsid("1I00", seed, key, label), label) for label in items),
        )
        for key, items in labels.items()
    }


def _any_item(world: World, key: str, rng: Random) -> str:
    return rng.choice(world.picklists[key].items)[0]


class _Names:
    """Full names, none of them twice."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._taken: set[str] = set()

    def next(self) -> tuple[str, str]:
        for _ in range(50):
            first, last = self._rng.choice(names.FIRST), self._rng.choice(names.LAST)
            if f"{first} {last}" not in self._taken:
                break
        else:
            last = f"{last} {self._rng.choice(names.LAST)} {len(self._taken)}"
        self._taken.add(f"{first} {last}")
        return first, last


def _users(world: World, rng: Random, count: int) -> None:
    pool = _Names(rng)
    manager: Value = None
    for number in range(count):
        first, last = pool.next()
        name = f"{first} {last}"
        user = world.add(
            "gsuser",
            number,
            Name=name,
            FirstName=first,
            LastName=last,
            Email=f"{local_part(name)}@{names.VENDOR_DOMAIN}",
            SFDCUserName=f"{local_part(name)}@{names.VENDOR_DOMAIN}.crm",
            IsActiveUser=number != count - 1,
            LicenseType="Full" if number % 3 else "Viewer",
            Manager=manager,
            Timezone=rng.choice(names.ZONES),
        )
        manager = manager or user["Gsid"]


def _companies(world: World, rng: Random, size: int) -> None:
    users = [u["Gsid"] for u in world.rows("gsuser") if u["IsActiveUser"]]
    for number in range(size):
        firm = names.FIRM[number % len(names.FIRM)]
        kind = names.FIRM_KIND[(number // len(names.FIRM) + number) % len(names.FIRM_KIND)]
        more = number // (len(names.FIRM) * len(names.FIRM_KIND))
        name = f"{firm} {kind}" + (f" {more + 1}" if more else "")
        earlier = world.rows("company")
        world.add(
            "company",
            number,
            Name=name,
            Industry=_any_item(world, "company.Industry", rng) if rng.random() < 0.95 else None,
            Stage=_any_item(world, "company.Stage", rng),
            Status="Active" if rng.random() < 0.9 else "Churned",
            Arr=rng.choice((None, 12_000, 48_000, 120_000, 250_500.5)),
            Employees=rng.randrange(20, 20_000),
            CurrentScore=rng.randrange(0, 101),
            RenewalDate=EPOCH + rng.randrange(10, 400) * DAY,
            OriginalContractDate=EPOCH - rng.randrange(100, 2000) * DAY,
            Csm=rng.choice(users) if rng.random() < 0.95 else None,
            PreviousCsm=rng.choice(users) if rng.random() < 0.3 else None,
            ParentCompany=rng.choice(earlier)["Gsid"] if earlier and rng.random() < 0.1 else None,
            Domain__gc=f"{local_part(name).replace('.', '-')}.example",
            Tier__gc=rng.choice(("Gold", "Silver", "Bronze", None)),
        )


def _employ(world: World, rng: Random, person: Row, company: Row, *, primary: bool, active: bool = True) -> None:
    world.add(
        "company_person",
        f"{person['Gsid']}/{company['Gsid']}",
        Person_ID=person["Gsid"],
        Company_ID=company["Gsid"],
        Active=active,
        Role=rng.choice((*names.ROLES, None)),
        Title=rng.choice(names.TITLES),
        IsPrimaryCompany=primary,
    )


def _persons(world: World, rng: Random) -> None:
    pool = _Names(rng)
    companies = world.rows("company")
    taken = {f"{u['Name']}" for u in world.rows("gsuser")}
    number = 0
    for company in companies:
        for _ in range(rng.randrange(5, 9)):
            first, last = pool.next()
            while f"{first} {last}" in taken:
                first, last = pool.next()
            person = _person(world, rng, number, f"{first} {last}", str(company["Domain__gc"]))
            number += 1
            _employ(world, rng, person, company, primary=True)
            others = [c for c in rng.sample(companies, min(3, len(companies))) if c is not company]
            if others and rng.random() < 0.05:
                _employ(world, rng, person, others[0], primary=False)
            elif others and rng.random() < 0.03:
                _employ(world, rng, person, others[0], primary=False, active=False)
    # One colleague is also registered as a person: the user's side wins.
    user = world.rows("gsuser")[0]
    twin = world.add(
        "person",
        "twin",
        Email=user["Email"],
        Name=user["Name"],
        FirstName=user["FirstName"],
        LastName=user["LastName"],
    )
    _employ(world, rng, twin, companies[0], primary=True)


def _person(world: World, rng: Random, number: int, name: str, domain: str) -> Row:
    first, _, last = name.partition(" ")
    email: str | None = f"{local_part(name)}@{domain}"
    chance = rng.random()
    if chance < 0.03:
        email = None
    elif chance < 0.06 and email:
        email = email.title()
    return world.add(
        "person",
        number,
        Email=email,
        FirstName=first,
        LastName=last,
        Name=name,
        MiddleName=rng.choice((None, None, "J.")),
        Location=rng.choice((*names.PLACES, None)),
        Timezone=rng.choice(names.ZONES),
        LinkedinUrl=f"https://social.example/in/{local_part(name)}" if rng.random() < 0.5 else None,
        ExternalRecordID=f"crm-{number:06d}" if rng.random() < 0.7 else None,
        Comments="Prefers calls ☎️ before noon" if rng.random() < 0.1 else None,
    )


def _relationships(world: World, rng: Random) -> None:
    kinds = [world.add("relationship_type", kind, Name=kind)["Gsid"] for kind in ("Region", "Product")]
    for company in world.rows("company"):
        if rng.random() >= 1 / 3:
            continue
        for region in rng.sample(names.REGIONS, rng.randrange(1, 3)):
            world.add(
                "relationship",
                f"{company['Gsid']}/{region}",
                Name=f"{company['Name']} - {region}",
                CompanyId=company["Gsid"],
                TypeId=rng.choice(kinds),
                Stage=_any_item(world, "relationship.Stage", rng),
                Status="Active",
            )


def _contracts(world: World, rng: Random) -> None:
    for company in world.rows("company"):
        for number in range(rng.randrange(0, 4)):
            row = world.add(
                "contract__gc",
                f"{company['Gsid']}/{number}",
                Name__gc=f"MSA {2026 - number}",
                Value__gc=rng.randrange(1, 400) * 500 + 0.5,
                Company_ID__gc=company["Gsid"],
            )
            row["ModifiedDate"] = EPOCH - (number * 300 + rng.randrange(1, 200)) * DAY - number
