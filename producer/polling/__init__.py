"""Polling one connector: page sizes, columns, the poll itself, deletions."""
