"""Checking a tenant, proposing a mapping, and registering a connector."""
