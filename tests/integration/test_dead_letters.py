"""Dead letters listed, shown, and tried again, as a person does it."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import orjson
from typer.testing import CliRunner

from frame_gainsight.cli.main import app
from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import ROOT, World, unlimited, until


def says(world: World, *arguments: str, code: int = 0) -> str:
    answer = CliRunner().invoke(app, ["dead-letters", *arguments], env=world.env | {"COLUMNS": "200"})
    assert answer.exit_code == code, answer.output
    return str(answer.output)


def listed(world: World) -> list[dict[str, Any]]:
    lines = says(world, "list", "--json").splitlines()
    return [orjson.loads(line) for line in lines if line.startswith("{")]


def test_what_could_not_be_converted_is_listed_shown_and_comes_out_when_tried_again(world: World) -> None:
    world.add("acme", unlimited(seed=62, scenario=Morning(emails=6, periods=1, edits=0)))
    world.poll()
    assert "no dead letters" in says(world, "list")
    broken = world.start(sys.executable, "-m", "tests.fixtures.refusing", PYTHONPATH=str(ROOT))
    world.settled()
    assert broken.stop() == 0, broken.text

    found = listed(world)
    emails = {r.name for r in world.raw()}
    assert {x["activity"] for x in found} == emails
    first = found[0]
    table = says(world, "list")
    assert f"{len(emails)} dead letters (acme: {len(emails)})" in table
    assert first["at"] in table
    whole = says(world, "show", first["at"])
    assert "This release cannot convert it." in whole
    assert f"acme/{first['activity']}" in whole
    assert '"Subject"' in whole
    assert "no dead letter" in says(world, "show", "0:9999", code=1)
    assert "Say which" in says(world, "retry", code=2)
    assert "no dead letter 0:9999" in says(world, "retry", "0:9999", code=1)

    enricher = world.enricher(FRAME_GAINSIGHT_UNPARK_SECONDS="0.2")
    says(world, "retry", first["activity"])
    until("the one is there", lambda: {r.name for r in world.conversations()} == {first["activity"]})
    says(world, "retry", "--connector", "acme")
    until("all are there", lambda: {r.name for r in world.conversations()} == emails)
    world.right()
    assert "nothing to do" in says(world, "retry", "--all")
    assert len(world.dead_letters()) == len(emails)
    assert enricher.stop() == 0, enricher.text


def test_what_a_replay_could_not_convert_comes_out_once_though_its_versions_were_published_before(world: World) -> None:
    world.add("acme", unlimited(seed=62, scenario=Morning(emails=6, periods=1, edits=0)))
    world.poll()
    emails = {r.name for r in world.raw()}
    enricher = world.enricher()
    until("all are there", lambda: {r.name for r in world.conversations()} == emails)
    assert enricher.stop() == 0, enricher.text

    broken = world.start(sys.executable, "-m", "tests.fixtures.refusing", PYTHONPATH=str(ROOT))
    asking = world.start(world.command, "replay", "acme", "--json")
    assert asking.wait() == 0, asking.text
    assert broken.stop() == 0, broken.text
    assert {x["activity"] for x in listed(world)} == emails
    assert len(world.conversations()) == len(emails), "those of before"

    enricher = world.enricher()
    first = listed(world)[0]["activity"]
    for which, count in (((first,), 1), (("--all",), len(emails) - 1), (("--all",), 0)):
        before = len(world.conversations())
        text = says(world, "retry", *which)
        assert f"acme: {count} activities" in text if count else "nothing to do" in text
        until("they are there again", lambda b=before, c=count: len(world.conversations()) == b + c)
    assert Counter(r.name for r in world.conversations()) == dict.fromkeys(emails, 2)
    assert enricher.stop() == 0, enricher.text
