"""A definition's faults in the words of its file: each with its place, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from frame_gainsight.connectors.definition.model import CustomObject, Definition, MappingError
from frame_gainsight.connectors.errors import DefinitionError

MAX_FAULTS = 50  # faults listed in one error
_BOUNDS = {"greater_than_equal": "at least", "less_than_equal": "at most", "greater_than": "more than"}
_KINDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "dict_type": "write 'name: value' lines below it",
    "model_type": "write 'join: …' and 'pick: …' below it",
    "tuple_type": "write a list, such as [Email, Meeting]",
}


def invalid(faults: list[str], source: str) -> DefinitionError:
    """The error that lists a definition's faults."""
    more = [f"and {left:,} more"] if (left := len(faults) - MAX_FAULTS) > 0 else []
    return DefinitionError("\n  ".join([f"{source} is not valid:", *faults[:MAX_FAULTS], *more]))


def faults_of(error: ValidationError) -> list[str]:
    """Every fault with its place, and the words for a correction."""
    found = []
    for fault in error.errors(include_url=False, include_input=False):
        if isinstance(cause := fault.get("ctx", {}).get("error"), MappingError):
            found += cause.faults
            continue
        place = ".".join(str(p) for p in fault["loc"] if p != "[key]")
        text = _words(fault["type"], fault["loc"], fault.get("ctx", {})) or fault["msg"].removeprefix("Value error, ")
        found.append(f"{place}: {text}" if place else text)
    return found


def _words(kind: str, where: tuple[int | str, ...], given: Mapping[str, Any]) -> str | None:
    """A fault in the words of a definition's file; None where the message of the fault is to be shown as it is."""
    if kind == "extra_forbidden":
        known = Definition.model_fields if len(where) == 1 else CustomObject.model_fields
        close = difflib.get_close_matches(str(where[-1]), known, n=1)
        return "unknown" + (f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}")
    if kind == "string_pattern_mismatch":
        what = "an object's API name" if where[0] == "objects" else "a name for a field"
        return f"is not {what}: write letters, digits and _, beginning with a letter"
    if kind in ("too_short", "too_long") and "join" in where:
        return "write one field and what it holds, such as {Company_ID__gc: company}"
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        bound = given.get("ge", given.get("le", given.get("gt")))
        return f"must be {_BOUNDS[kind]} {bound:g}" if isinstance(bound, int | float) else None
    if kind == "literal_error":
        return f"write one of: {given.get('expected')}"
    if kind.startswith(("datetime", "timezone")):
        return "is not a time with its zone; write it as 2026-11-01T00:00:00Z"
    return _KINDS.get(kind)
