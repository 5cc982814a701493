"""A definition's written forms: the YAML file of a person with its JSON Schema, and the JSON text of the topic."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import ValidationError

from frame_gainsight.connectors.definition.messages import faults_of, invalid
from frame_gainsight.connectors.definition.model import STORED, Definition, mapping_faults
from frame_gainsight.connectors.errors import DefinitionError

SCHEMA_FILE = "connector.schema.json"


def schema() -> dict[str, Any]:
    """The JSON Schema of a definition's file, for editors."""
    described = Definition.model_json_schema(mode="validation")
    described["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    described["title"] = "A frame-gainsight connector"
    described["description"] = "What frame-gainsight reads of a Gainsight tenant, and how it maps it."
    return described


def to_yaml(definition: Definition) -> str:
    """The definition as a person would write it, without the values that are the defaults."""
    values = definition.model_dump(mode="json", exclude_defaults=True)
    for name in ("period", "overlap", "deletions_every"):
        if isinstance(values.get(name), int):
            values[name] = written(values[name])
    head = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def written(seconds: int) -> str:
    """Seconds as a definition's file has them, such as 10m."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


class _Loader(yaml.SafeLoader):
    """A loader of YAML in which a name stands once: the safe loader takes the last of two and drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"'{key.value}' stands there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, source: str = "the definition") -> Definition:
    """A definition from YAML. Raises DefinitionError naming every fault with its place in the file."""
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise not_yaml(error, source) from None
    except RecursionError:
        raise DefinitionError(f"{source} is no definition: lists stand in lists without end.") from None
    except ValueError as error:  # what looks like a date and is none
        raise DefinitionError(f"{source} has a date that does not exist: {error}.") from None
    if not isinstance(data, dict):
        raise DefinitionError(f"{source} must be a list of 'name: value' lines, beginning with id and host.")
    return _validated(data, source)


def not_yaml(error: yaml.YAMLError, source: str) -> DefinitionError:
    """The error for a text that is no YAML, with the place. The text itself is not quoted: anything may be in it."""
    place, problem = "", "it does not read"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = error.problem or problem
    elif isinstance(error, yaml.reader.ReaderError):
        problem = f"character {error.position + 1:,} is none that a text file has"
    return DefinitionError(f"{source} is not YAML: {place}{problem}.")


def parse_canonical(text: str) -> Definition:
    """A definition from the topic. Raises DefinitionError."""
    try:
        return Definition.model_validate_json(text, context=STORED)
    except ValidationError as error:
        raise invalid(faults_of(error), "the stored definition") from None


def _validated(data: dict[str, Any], source: str) -> Definition:
    try:
        return Definition.model_validate(data)
    except ValidationError as error:
        # The model checks paths only once all else is right; whoever corrects a file wants to know of them now.
        faults = dict.fromkeys([*faults_of(error), *mapping_faults(data)])
        raise invalid(list(faults), source) from None
