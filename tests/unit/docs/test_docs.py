"""The documents say what the code says."""

import re
from pathlib import Path

import pytest
import typer

from frame_gainsight.cli.commands.definitions import schema_text
from frame_gainsight.cli.main import app
from frame_gainsight.connectors import Definition, parse_yaml
from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.definition.yaml_file import SCHEMA_FILE
from frame_gainsight.runtime.metric_catalogue import metrics_page
from frame_gainsight.runtime.settings import settings_page

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_settings_page_lists_every_setting() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page(), (
        "write docs/settings.md anew from settings_page()"
    )


def test_the_metrics_page_lists_every_metric() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == metrics_page(), "write docs/metrics.md anew from metrics_page()"


def test_the_published_schema_is_the_definition_s() -> None:
    assert (ROOT / "docs" / SCHEMA_FILE).read_text() == schema_text(), (
        f"write docs/{SCHEMA_FILE} anew: ./dev run frame-gainsight connector schema > docs/{SCHEMA_FILE}"
    )


def test_the_connectors_page_names_every_field_of_a_definition() -> None:
    page = (ROOT / "docs/connectors.md").read_text()
    assert [name for name in Definition.model_fields if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    unknown = []
    for words in re.findall(r"frame-gainsight ((?:[a-z-]+ ?)+)", page.read_text()):
        command = getattr(root, "commands", {}).get(words.split()[0])
        if command is None:
            unknown.append(words)
        elif subcommands := getattr(command, "commands", None):
            unknown += [words] if len(words.split()) < 2 or words.split()[1] not in subcommands else []
    assert unknown == []


def test_the_readmes_definition_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert parse_yaml(text).host == "https://acme.gainsightcloud.com"


def test_the_readme_runs_what_ci_runs() -> None:
    assert "./dev test" in (ROOT / "README.md").read_text()
    assert re.search(r"^(exec )?\./dev test$", (ROOT / ".ci/run").read_text(), re.MULTILINE)


@pytest.mark.parametrize("object_name", [required.ACTIVITY, *required.OWN_COLUMNS])
def test_the_customer_s_page_names_every_field_that_is_always_read(object_name: str) -> None:
    page = (ROOT / "docs/connecting-gainsight.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{object_name}` |")]
    columns = required.ACTIVITY_COLUMNS if object_name == required.ACTIVITY else required.OWN_COLUMNS[object_name]
    named = row.split("|")[3].partition(", and your own")[0]
    assert [name.strip() for name in named.split(",")] == list(columns)
