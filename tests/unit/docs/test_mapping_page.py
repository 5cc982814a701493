"""The mapping page's worked examples, against the simulated tenants that they are of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from enricher.preview import preview
from frame_gainsight.connectors import Definition, parse_yaml
from frame_gainsight.gainsight import AccessKey, CallBudget, Condition, GainsightClient, HttpTransport, Query
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import TENANT_PROFILES, Limits, Morning, Sandbox, Tenant, apply_profile

PAGE = (Path(__file__).parents[3] / "docs/mapping.md").read_text()
SEEDS = {"relationships": 7, "plain": 8}


def blocks(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """An example's definition, the tenant's rows by object, and the conversation."""
    section = PAGE.partition(f"### {name}\n")[2].partition("\n### ")[0]
    (definition,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    rows, conversation = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    return definition, orjson.loads(rows), orjson.loads(conversation)


def part_of(shown: Any, whole: Any, where: str = "") -> None:
    """Everything that is shown is so; lists are shown whole, of records what is shown."""
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert name in whole, f"{where}.{name}"
            if name == "profile":
                assert value == whole[name], f"{where}.{name}"
            part_of(value, whole[name], f"{where}.{name}")
    elif isinstance(shown, list):
        assert len(shown) == len(whole), where
        for number, (one, other) in enumerate(zip(shown, whole, strict=True)):
            part_of(one, other, f"{where}[{number}]")
    else:
        assert shown == whole, where


@pytest.mark.parametrize("name", list(TENANT_PROFILES))
async def test_an_example_is_what_comes_out(name: str) -> None:
    text, rows, shown = blocks(name)
    tenant = Tenant(seed=SEEDS[name], scenario=Morning(emails=60, periods=1), size=8, limits=Limits(None, None))
    apply_profile(tenant, name).advance(3600)
    clock = SystemClock()
    with Sandbox(tenant) as sandbox:
        definition = Definition.model_validate(parse_yaml(text).model_dump() | {"host": sandbox.url})
        budget = CallBudget(clock, 1.0, per_minute=10_000)
        async with GainsightClient(HttpTransport(sandbox.url, AccessKey(tenant.access_key), budget, clock)) as client:
            told = await preview(client, clock, [definition], 60)
            for object_name, of_object in rows.items():
                for row in of_object:
                    query = Query(object_name, list(row), [Condition("Gsid", "EQ", [row["Gsid"]])])
                    assert await client.query(query) == [row]
    assert not [one.causes for one in told.shown if one.causes]
    (found,) = [one.values[0] for one in told.shown if one.gsid == shown["activity_id"]]
    part_of(shown, found)
