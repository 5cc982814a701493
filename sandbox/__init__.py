"""A simulated Gainsight tenant: a real HTTP server with data, deletions, late rows, limits, faults, and the truth.

from sandbox import Morning, Sandbox, Tenant

with Sandbox(Tenant(seed=1, scenario=Morning(emails=1000))) as sandbox:
    ...  # sandbox.url, sandbox.tenant.access_key, sandbox.tenant.truth()
"""

from sandbox.clock import Clock
from sandbox.implementations import IMPLEMENTATIONS, implement
from sandbox.limits import Limits
from sandbox.live import Live
from sandbox.mail import Mail
from sandbox.morning import Morning
from sandbox.scenario import Quiet
from sandbox.server import Sandbox, serve
from sandbox.switches import UnknownVariantError
from sandbox.tenant import Tenant
from sandbox.variants import VARIANTS

__all__ = [
    "IMPLEMENTATIONS",
    "VARIANTS",
    "Clock",
    "Limits",
    "Live",
    "Mail",
    "Morning",
    "Quiet",
    "Sandbox",
    "Tenant",
    "UnknownVariantError",
    "implement",
    "serve",
]
