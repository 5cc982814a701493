"""Mapping paths: `object.Field` or `object.Lookup__gr.Field`, as a definition names them."""

from __future__ import annotations

from dataclasses import dataclass

from frame_gainsight.connectors.errors import DefinitionError

# Objects that a path may begin with, by the part of the mapping; custom objects besides.
USER_ROOTS = ("person", "company_person", "gsuser")
ORG_ROOTS = ("company", "relationship")
TAG_ROOTS = ("activity", *ORG_ROOTS)
ACTIVITY_OBJECT = "activity_timeline"  # `activity` in a path
STANDARD_ROOTS = frozenset({*USER_ROOTS, *TAG_ROOTS, ACTIVITY_OBJECT})
MAX_LOOKUP_LEVELS = 2  # look-ups in one path: two are documented
LOOKUP_SUFFIX = "__gr"


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path. `field` is the column selected from the object: `Arr`, or dotted `Csm__gr.Email`."""

    root: str
    field: str

    def __str__(self) -> str:
        return f"{self.root}.{self.field}"


def parse_path(text: str, roots: tuple[str, ...], where: str) -> Path:
    """A path that begins with one of `roots`. Raises DefinitionError naming `where` it stands."""
    root, _, field = text.partition(".")
    if not field:
        raise DefinitionError(f"{where}: '{text}' is not a path. Write object.Field, such as {roots[0]}.Name.")
    if root not in roots:
        hint = next((f" Write it as '{known}'." for known in roots if known.lower() == root.lower()), None)
        if hint is None:  # a participant's path never begins with a custom object
            hint = "" if set(roots) <= set(USER_ROOTS) else " A custom object must be named under 'objects' first."
        raise DefinitionError(
            f"{where}: '{text}' begins with '{root}', but here a path begins with one of: {', '.join(roots)}.{hint}"
        )
    parts = field.split(".")
    if not all(parts) or len(parts) - 1 > MAX_LOOKUP_LEVELS or any(not _is_name(part) for part in parts):
        raise DefinitionError(
            f"{where}: '{text}' is not a path of field names with at most {MAX_LOOKUP_LEVELS} look-ups."
        )
    if any(not part.endswith(LOOKUP_SUFFIX) for part in parts[:-1]):
        raise DefinitionError(
            f"{where}: '{text}' goes through a field that is not a look-up: look-ups end in '{LOOKUP_SUFFIX}', "
            "such as company.Csm__gr.Email."
        )
    return Path(root, field)


def _is_name(part: str) -> bool:
    return part.replace("_", "a").isalnum() and part.isascii()
