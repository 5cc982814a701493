"""Tenant profiles: tenants that were set up differently, as the variants that make them so.

No two customers' Gainsight look the same. `relationships` is the tenant without any variant: relationships, a custom
object for contracts, look-ups, picklists by their ids. `plain` has none of these, and other spellings and forms.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from frame_gainsight.sandbox.http.tenant import Tenant

Setting = tuple[str, Any, str | None]
"""Variant, value, and the object that it is for (None: all of them)."""

TENANT_PROFILES: Mapping[str, tuple[Setting, ...]] = MappingProxyType(
    {
        "relationships": (),
        "plain": (
            ("missing_object", True, "relationship"),
            ("missing_object", True, "contract__gc"),
            ("spellings", {"Person_ID": "PersonId", "Company_ID": "CompanyId"}, "company_person"),
            ("missing_fields", ["From", "To", "Ant__Sentiment__c"], "activity_timeline"),
            ("dotted_select", "P_5068", None),
            ("dotted_where", "P_5068", None),
            ("picklists", "label", None),
            ("multi_select", "joined", None),
            ("dates", "ms", None),
            ("nulls", "empty", None),
        ),
    }
)


def apply_profile(tenant: Tenant, name: str) -> Tenant:
    """Sets a tenant up so; returns it. Raises KeyError for a name that is not in the table."""
    for variant, value, of in TENANT_PROFILES[name]:
        tenant.set_variant(variant, value, object=of)
    return tenant
