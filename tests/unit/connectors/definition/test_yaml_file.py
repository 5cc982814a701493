"""A definition's file: what is no YAML is refused with its line, and what is written reads back."""

from __future__ import annotations

import pytest

from frame_gainsight.connectors import DefinitionError, parse_yaml
from frame_gainsight.connectors.definition.yaml_file import to_yaml, written


def fault(text: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse_yaml(text, "acme.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id: a\nhost: [", "line 2, column 8"),
        ("id: a\n\thost: b", "line 2, column 1"),
        ("id: a\nhost: https://a.b\ntags: {a: activity.X", "line 3"),
        ("id: acme\nhost: https://a.b\nid: other", "line 3, column 1: 'id' stands there twice"),
        ("id: a\nhost: https://a.b\ntags: {a: activity.X, a: activity.Y}", "line 3, column 23: 'a' stands there twice"),
        ("id: a\nstart: 2026-13-45", "date that does not exist: month"),
        ("id: a\n? [b]\n: c", "unhashable"),
        ("id: !!python/object:os.system x", "line 1"),
        ("a\0b", "not YAML"),
        ("", "must be a list of 'name: value' lines, beginning with id and host"),
        ("- id", "must be a list of 'name: value' lines"),
        ("acme", "must be a list of 'name: value' lines"),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line(text: str, words: str) -> None:
    assert fault(text).startswith("acme.yaml ")
    assert words in fault(text)


def test_lists_that_are_nested_without_end_are_refused() -> None:
    assert "lists stand in lists without end" in fault("[" * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        "id: acme\nhost: https://acme.gainsightcloud.com\n",
        "id: acme\nhost: https://acme.gainsightcloud.com\nperiod: 1h\noverlap: auto\nstart: '2026-11-01T00:00:00Z'\n"
        "activity_types:\n- Email\nobjects:\n  c__gc:\n    join:\n      Company_ID__gc: company\n"
        "org_profile:\n  size: c__gc.Value__gc\n",
    ],
    ids=["defaults", "much"],
)
def test_a_definition_is_written_as_a_person_would_write_it(text: str) -> None:
    definition = parse_yaml(text)
    head, _, body = to_yaml(definition).partition("\n")
    assert head == "# yaml-language-server: $schema=connector.schema.json"
    assert body == text
    assert parse_yaml(to_yaml(definition)) == definition


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1s"), (90, "90s"), (60, "1m"), (600, "10m"), (3600, "1h"), (5400, "90m"), (86_400, "1d"), (0, "0s")],
)
def test_durations_are_written_in_their_largest_unit(seconds: int, text: str) -> None:
    assert written(seconds) == text
