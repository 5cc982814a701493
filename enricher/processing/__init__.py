"""Batches enriched, and what happens when that fails: retries, parked activities, circuit breaker, dead letters."""
