"""Entities resolved in batches: people, companies, relationships, custom objects, and the cache of them."""
