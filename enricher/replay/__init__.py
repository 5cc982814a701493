"""Conversations made anew from the raw topic."""
