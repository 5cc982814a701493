"""The documents say what the code says."""

import ast
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

import pytest
import typer

from frame_gainsight.cli.main import app
from frame_gainsight.connectors import Definition, parse_yaml
from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.definition.yaml_file import SCHEMA_FILE

ROOT = Path(__file__).parents[3]
GENERATOR = ROOT / "docs/generate.py"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@cache
def generated() -> dict[str, str]:
    """File name in docs/ → the text that is made from the code."""
    spec = importlib.util.spec_from_file_location("docs_generate", GENERATOR)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.pages()
    return pages


@pytest.mark.parametrize("name", ["architecture.svg", SCHEMA_FILE, "metrics.md", "settings.md"])
def test_page_made_from_the_code_is_as_the_code_is(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == generated()[name], "write it anew: ./dev docs"


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


def functions_in(path: Path) -> set[str]:
    """A module's functions, and its classes' methods as `Class.method`."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text()).body
    methods = {
        f"{c.name}.{m.name}" for c in body if isinstance(c, ast.ClassDef) for m in c.body if isinstance(m, kinds)
    }
    return methods | {f.name for f in body if isinstance(f, kinds)}


def test_one_activitys_way_names_files_and_functions_that_exist() -> None:
    steps = re.findall(r"^\d+\. `([\w/]+\.py)`: `([\w.]+)`", (ROOT / "docs/how-it-works.md").read_text(), re.MULTILINE)
    assert 10 <= len(steps) <= 20
    assert [(file, name) for file, name in steps if name not in functions_in(ROOT / file)] == []


def test_glossary_has_25_words_at_most() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    assert 0 < len(words) <= 25 and words == sorted(words)


RETIRED = (
    "as a whole",
    "came to",
    "ledger",
    "left alone",
    "parking lot",
    "riding",
    "rode along",
    "roster",
    "shaky",
    "spare work",
    "unheard of",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_uses_no_retired_word(page: Path) -> None:
    text = " ".join(page.read_text().lower().split())
    assert [word for word in RETIRED if word in text] == []
