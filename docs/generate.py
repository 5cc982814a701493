"""Writes the pages that are made from the code: `./dev docs`. Tests compare them with what is in the tree."""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]

INSTALLED = ("enricher", "frame_gainsight", "producer", "schemas")
OPENED = ("enricher", "producer")  # drawn with their sub-packages
MARGIN, GAP_X, GAP_Y = 24, 28, 56
BOX_WIDTH, INNER_WIDTH, INNER_HEIGHT, LINE = 190, 118, 34, 14

Arrows = dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class Box:
    """A package in the picture. Sizes and places are pixels."""

    name: str
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def imports_between(graph: grimp.ImportGraph, packages: Iterable[str]) -> Arrows:
    """Package → the others of these that it, or anything in it, imports directly."""
    names = sorted(packages)
    inside = {name: {name, *graph.find_descendants(name)} for name in names}
    arrows: Arrows = {}
    for name in names:
        imported = {m for module in inside[name] for m in graph.find_modules_directly_imported_by(module)}
        arrows[name] = {other for other in names if other != name and imported & inside[other]}
    return arrows


def reduced(arrows: Mapping[str, set[str]]) -> Arrows:
    """The arrows that are not implied by a longer way through other packages."""

    def reach(name: str) -> set[str]:
        return {name}.union(*(reach(to) for to in arrows[name]))

    return {
        name: {to for to in targets if not any(to in reach(other) for other in targets - {to})}
        for name, targets in arrows.items()
    }


def rows_of(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Packages in rows: none of these imports those of the first one, and each row only imports from those below it."""
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = 1 + max((depth(other) for other in arrows if name in arrows[other]), default=-1)
        return depths[name]

    for name in sorted(arrows):
        depth(name)
    rows = ([n for n in depths if depths[n] == row] for row in range(max(depths.values()) + 1))
    return [sorted(row, key=lambda name: (name not in OPENED, name)) for row in rows]


def summary_of(package: str) -> list[str]:
    """The first sentence of a package's docstring, in lines that fit into its box."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return textwrap.wrap(" ".join(text.split()), 30)


def architecture() -> str:
    """docs/architecture.svg: the installed packages and which of them imports which."""
    graph = grimp.build_graph(*INSTALLED, cache_dir=None)
    outer = [*OPENED, "schemas", *graph.find_children("frame_gainsight")]
    arrows = reduced(imports_between(graph, outer))
    inner = {
        package: reduced(imports_between(graph, (c for c in graph.find_children(package) if "__main__" not in c)))
        for package in OPENED
    }
    rows = rows_of(arrows)
    boxes: dict[str, Box] = {}
    y = float(MARGIN)
    width = max(sum(_size(n, inner)[0] for n in row) + GAP_X * (len(row) - 1) for row in rows) + 2 * MARGIN
    for row in rows:
        sizes = {name: _size(name, inner) for name in row}
        x = (width - sum(w for w, _ in sizes.values()) - GAP_X * (len(row) - 1)) / 2
        tallest = max(h for _, h in sizes.values())
        for name in row:
            boxes[name] = Box(name, x, y, *sizes[name])
            x += sizes[name][0] + GAP_X
        y += tallest + GAP_Y
    parts = _arrows(boxes, arrows, "outer")
    parts += [_package(boxes[name], name.removeprefix("frame_gainsight."), summary_of(name)) for name in sorted(boxes)]
    for package in OPENED:
        modules = _inside(boxes[package], inner[package])
        parts += _arrows(modules, inner[package], "inner")
        parts += [_module(box) for _, box in sorted(modules.items())]
    return _svg(width, y - GAP_Y + MARGIN, parts)


def _header(package: str) -> float:
    return 26.0 + LINE * len(summary_of(package))


def _size(package: str, inner: Mapping[str, Arrows]) -> tuple[float, float]:
    if package not in inner:
        return BOX_WIDTH, _header(package) + 8
    rows = rows_of(inner[package])
    widest = max(map(len, rows))
    return (
        widest * INNER_WIDTH + (widest + 1) * 14,
        _header(package) + len(rows) * INNER_HEIGHT + (len(rows) - 1) * 22 + 24,
    )


def _inside(box: Box, arrows: Arrows) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    y = box.y + _header(box.name) + 8
    for row in rows_of(arrows):
        x = box.middle - (len(row) * INNER_WIDTH + (len(row) - 1) * 14) / 2
        for name in row:
            boxes[name] = Box(name, x, y, INNER_WIDTH, INNER_HEIGHT)
            x += INNER_WIDTH + 14
        y += INNER_HEIGHT + 22
    return boxes


def _package(box: Box, title: str, summary: Sequence[str]) -> str:
    lines = "".join(
        f'<text class="summary" x="{box.middle:g}" y="{box.y + 38 + LINE * number:g}">{escape(line)}</text>'
        for number, line in enumerate(summary)
    )
    return (
        f'<rect class="package" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="8"/>'
        f'<text class="title" x="{box.middle:g}" y="{box.y + 21:g}">{escape(title)}</text>{lines}'
    )


def _module(box: Box) -> str:
    title = box.name.rpartition(".")[2]
    return (
        f'<rect class="module" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="5"/>'
        f'<text class="name" x="{box.middle:g}" y="{box.y + 22:g}">{escape(title)}</text>'
    )


def _arrows(boxes: Mapping[str, Box], arrows: Mapping[str, set[str]], kind: str) -> list[str]:
    """Curves from the lower edge of whoever imports to the upper edge of what is imported, side by side at both."""
    pairs = sorted((name, to) for name, targets in arrows.items() for to in targets)

    def at(box: Box, one: tuple[str, str], own: int) -> float:
        same = [p for p in pairs if p[own] == box.name]
        same.sort(key=lambda p: (boxes[p[1 - own]].middle, p))
        return box.x + box.width * (same.index(one) + 1) / (len(same) + 1)

    curves = []
    for name, to in pairs:
        start, end = boxes[name], boxes[to]
        x1, y1, x2, y2 = at(start, (name, to), 0), start.y + start.height, at(end, (name, to), 1), end.y - 5
        bend = (y2 - y1) / 2
        curves.append(
            f'<path class="{kind}" marker-end="url(#{kind})" '
            f'd="M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"/>'
        )
    return curves


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    heads = "".join(
        f'<marker id="{kind}" class="{kind}" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
        for kind in ("outer", "inner")
    )
    style = (
        "text{font-family:system-ui,sans-serif;text-anchor:middle;fill:#1b2733}"
        ".title{font-size:15px;font-weight:600}.summary{font-size:11px;fill:#4a5a6a}.name{font-size:12px}"
        ".package{fill:#eef3f8;stroke:#7d93a8}.module{fill:#fff;stroke:#9db0c2}"
        "path.outer{fill:none;stroke:#35618f;stroke-width:1.6}path.inner{fill:none;stroke:#8a9bab;stroke-width:1.1}"
        "marker.outer path{fill:#35618f}marker.inner path{fill:#8a9bab}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="Packages and their imports">'
        f"<style>{style}</style><defs>{heads}</defs>"
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def pages() -> dict[str, str]:
    """File name in docs/ → its text."""
    from frame_gainsight.cli.commands.definitions import schema_text
    from frame_gainsight.connectors.definition.yaml_file import SCHEMA_FILE
    from frame_gainsight.runtime.metric_catalogue import metrics_page
    from frame_gainsight.runtime.settings import settings_page

    return {
        "architecture.svg": architecture(),
        SCHEMA_FILE: schema_text(),
        "metrics.md": metrics_page(),
        "settings.md": settings_page(),
    }


def main() -> int:
    for name, text in pages().items():
        (ROOT / "docs" / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
