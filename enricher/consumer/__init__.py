"""Consuming the raw topic: lanes, windows, offset gaps and transactions; Faust in one module only."""
