"""Mapping paths: which ones read, and the words for those that do not."""

from __future__ import annotations

import pytest

from frame_gainsight.connectors import DefinitionError
from frame_gainsight.connectors.definition.paths import ORG_ROOTS, parse_path


@pytest.mark.parametrize(
    ("text", "root", "field"),
    [
        ("company.Arr", "company", "Arr"),
        ("company.Csm__gr.Email", "company", "Csm__gr.Email"),
        ("company.Csm__gr.Manager__gr.Name", "company", "Csm__gr.Manager__gr.Name"),
        ("relationship.X__gc", "relationship", "X__gc"),
    ],
)
def test_a_path_is_a_root_and_what_is_selected_from_it(text: str, root: str, field: str) -> None:
    path = parse_path(text, ORG_ROOTS, "org_profile.x")
    assert (path.root, path.field, str(path)) == (root, field, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Write object.Field, such as company.Name"),
        ("company", "Write object.Field"),
        ("company.", "Write object.Field"),
        ("Company.Arr", "begins with one of: company, relationship"),
        ("person.Email", "begins with 'person'"),
        ("contract__gc.Value__gc", "named under 'objects' first"),
        ("company.Csm.Email", "look-ups end in '__gr', such as company.Csm__gr.Email"),
        ("company.A__gr.B__gr.C__gr.D", "at most 2 look-ups"),
        ("company..Arr", "not a path of field names"),
        ("company.Arr ", "not a path of field names"),
        ("company.Arr;drop", "not a path of field names"),
        ("company.Ärr", "not a path of field names"),
        ("company.Csm__gr.", "not a path of field names"),
    ],
)
def test_a_fault_names_its_place_and_the_way_out(text: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_path(text, ORG_ROOTS, "org_profile.arr")
    assert str(caught.value).startswith(f"org_profile.arr: '{text}'")
    assert words in str(caught.value)
