"""Backfills: requests, estimates, and the owner's reading of the past."""
