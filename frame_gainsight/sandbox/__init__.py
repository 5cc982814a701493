"""A simulated Gainsight tenant: an HTTP server with data, deletions, late rows, limits, faults, and an oracle.

from frame_gainsight.sandbox import Morning, Sandbox, Tenant

with Sandbox(Tenant(seed=1, scenario=Morning(emails=1000))) as sandbox:
    ...  # sandbox.url, sandbox.tenant.access_key, sandbox.tenant.truth()
"""

from frame_gainsight.sandbox.http.limits import Limits
from frame_gainsight.sandbox.http.server import Sandbox, serve
from frame_gainsight.sandbox.http.switches import UnknownVariantError
from frame_gainsight.sandbox.http.tenant import Tenant
from frame_gainsight.sandbox.http.variants import VARIANTS
from frame_gainsight.sandbox.scenarios.live import Live
from frame_gainsight.sandbox.scenarios.mail import Mail
from frame_gainsight.sandbox.scenarios.morning import Morning
from frame_gainsight.sandbox.scenarios.tenant_profiles import TENANT_PROFILES, apply_profile
from frame_gainsight.sandbox.tenant.clock import Clock
from frame_gainsight.sandbox.tenant.scenario import Quiet

__all__ = [
    "TENANT_PROFILES",
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
    "apply_profile",
    "serve",
]
