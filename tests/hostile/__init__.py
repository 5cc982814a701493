"""Hostile tenants and hostile records: what may be sent to the services, and what must become of it."""
