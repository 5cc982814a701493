"""Pools of invented names: people, firms, places, titles.  Every address made of them ends in `.example`."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words("""
    Dana Sam Priya Kenji Lucía Marek Amélie Jonas Chidi Noor Hannah Tomás Yuki Olga Femi Ingrid Rafael Mei
    Björn Zoë Aarav Elif Mateo Sofia Lars Fatima Hugo Aiko Clara Diego Nadia Owen Petra Quentin Rosa Stefan
    Tara Ulrich Vera Wanda Xavier Yasmin Zoltan Anselm Beatriz Cyril Daphne Emeka Freya Goran Hiroko Ivo Jana
    Kofi Leila Milan Nora
""")

LAST = _words("""
    Osei Rivers Natarajan Sato García Nowak Dubois Weber Okafor Haddad Lindqvist Moreira Tanaka Petrova
    Adeyemi Solberg Costa Chen Åkesson Vandermeer Kapoor Yılmaz Fuentes Rossi Nilsson Rahman Lefèvre Mori
    Schäfer Ibarra Farouk Byrne Horváth Delacroix Romano Keller Bishop Brandt Orlova Król Navarro Said Molnár
    Falk Teixeira Ashworth Laurent Eze Dahl Kovač Ito Marković Svoboda Mensah Jafari Popov Engel Winter Hale
    Stone Quinn
""")

FIRM = _words("""
    Northwind Brightwater Ironvale Bluepeak Harbor Redwood Silverline Stonegate Cloudberry Oakfield Sunward
    Lakeshore Clearfield Foxglove Highmark Juniper Kestrel Larkspur Maplewood Nightjar Orchard Pinecrest
    Quillon Riverbend Saltmarsh Thornbury Umbra Violetta Westbrook Yarrow Zephyr Alderway Birchall Copperfield
    Driftwood Elmhurst Fernhill Granite
""")

FIRM_KIND = (
    "Traders",
    "Logistics",
    "Health",
    "Foods",
    "Energy",
    "Software",
    "Insurance",
    "Labs",
    "Media",
    "Robotics",
)

TITLES = (
    "VP Operations",
    "Head of Support",
    "IT Director",
    "Procurement Manager",
    "Product Owner",
    "Chief of Staff",
    "Customer Experience Lead",
    "Data Engineer",
    "CFO",
    "Programme Manager",
)

ROLES = ("Champion", "Decision Maker", "Executive Sponsor", "User", "Administrator", "Detractor")

ZONES = (
    "America/New_York",
    "Europe/Berlin",
    "Europe/Paris",
    "Asia/Tokyo",
    "America/Sao_Paulo",
    "Europe/Madrid",
)

PLACES = ("Boston", "Berlin", "Lyon", "Osaka", "Recife", "Sevilla", "Leeds", "Kraków")

REGIONS = ("EMEA", "Americas", "APAC", "Analytics", "Support Desk", "Pilot")

INDUSTRIES = (
    "Retail",
    "Healthcare",
    "Financial Services",
    "Manufacturing",
    "Software",
    "Energy",
    "Media & Telecom",
)

STAGES = ("Onboarding", "Adopting", "Growing", "Renewing", "At Risk")

RELATIONSHIP_STAGES = ("New", "Established", "Winding down")

SENTIMENTS = ("Positive", "Neutral", "Negative", "Escalated 🔥")

TOPICS = ("Renewal", "Outage", "Feature request", "Training", "Billing; invoices")

NAME_ONLY = ("Front Desk", "Conference Room 4B", "Night Shift", "Interpreter")
"""Attendees written as a bare name that no record of the tenant has."""

VENDOR_DOMAIN = "acme.example"
"""The Gainsight customer's own domain: its CSMs and agents write from here."""
