"""Modules of a repository, what they import and what they define, read from their sources without running them."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PRODUCT = ("robots", "sim", "policies", "adaptation", "evaluation", "ros_nodes", "sim2real")
"""The rooms that are installed."""


@dataclass(frozen=True)
class Source:
    """One file, parsed."""

    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """Syntax tree."""
        return ast.parse(self.path.read_text())

    @cached_property
    def imported(self) -> set[tuple[str, str]]:
        """(module, name) of every import anywhere in the file; the name is empty for `import module`."""
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {(alias.name, "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno} imports relatively; name the package"
                found |= {(node.module or "", alias.name) for alias in node.names}
        return found

    @property
    def imported_at_once(self) -> set[str]:
        """Top-level names of what is imported when the file is, unless it may be missing (`try`)."""
        found = set()
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
        return found

    @property
    def strings(self) -> set[str]:
        """String constants, up to a colon: `python -m` and entry points name modules so."""
        constants = (node.value for node in ast.walk(self.tree) if isinstance(node, ast.Constant))
        return {value.split(":")[0] for value in constants if isinstance(value, str)}

    @property
    def public_names(self) -> set[str]:
        """Classes, functions and type aliases (capitalised names that are assigned) at the top of the file."""
        found = set()
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {target.id for target in targets if isinstance(target, ast.Name)}
                found |= {name for name in names if re.fullmatch("[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name)}
        return {name for name in found if not name.startswith("_")}


class SourceTree:
    """All modules below `root` by their dotted names; a package's name stands for its `__init__`."""

    def __init__(self, root: Path):
        self.root = root
        self.sources: dict[str, Source] = {}
        for room in (*PRODUCT, "benchmarks"):
            for path in sorted((root / room).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                self.sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = Source(path)
        self.product = [module for module in self.sources if module.split(".")[0] in PRODUCT]

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        """Which modules of this tree each module imports."""
        return {module: self._own(source) - {module} for module, source in self.sources.items()}

    def _own(self, source: Source) -> set[str]:
        """Modules of this tree that a file imports; `from package import module` counts as the module alone."""
        found = set()
        for module, name in source.imported:
            full = f"{module}.{name}"
            found.add(full if full in self.sources else module)
        return found & self.sources.keys()

    def is_package(self, module: str) -> bool:
        """Whether a name stands for a folder."""
        return self.sources[module].path.name == "__init__.py"

    def foreign(self, modules: Iterable[str]) -> dict[str, set[str]]:
        """Top-level names that are imported and lie outside this tree, each with the modules that import it."""
        found: dict[str, set[str]] = {}
        for module in modules:
            for name, _ in self.sources[module].imported:
                if name not in self.sources:
                    found.setdefault(name.split(".")[0], set()).add(module)
        return found

    def between_children(self, package: str) -> dict[str, set[str]]:
        """Imports among the modules and folders that lie directly in `package`, each folder taken as one."""
        found: dict[str, set[str]] = {}
        for module in self.product:
            for imported in self.edges[module]:
                one, other = _child(module, package), _child(imported, package)
                if one and other and one != other:
                    found.setdefault(one, set()).add(other)
        return found

    def entry_points(self) -> set[str]:
        """Modules that start something: setup.py's commands, launch files' imports, benchmarks, `import sim2real`."""
        named = re.findall(r'"\w+ = ([\w.]+):\w+"', (self.root / "setup.py").read_text())
        launch = [Source(path) for path in (self.root / "launch").glob("*.launch.py")]
        found = {*named, "sim2real", "sim2real.__main__"}.union(*map(self._own, launch))
        return found & self.sources.keys() | {module for module in self.sources if module not in self.product}

    def reached(self) -> set[str]:
        """Modules that an entry point imports, at once or through others, or names in a string."""
        found: set[str] = set()
        waiting = self.entry_points()
        while waiting:
            module = waiting.pop()
            found.add(module)
            parents = {module.rsplit(".", count)[0] for count in range(1, module.count(".") + 1)}
            named = {string for string in self.sources[module].strings if "." in string}
            waiting |= (self.edges[module] | parents | named) & self.sources.keys() - found
        return found


def _child(module: str, package: str) -> str:
    """Return the module or folder directly in `package` that holds `module`; empty where it lies elsewhere."""
    inside = module.removeprefix(f"{package}.")
    return f"{package}.{inside.split('.')[0]}" if inside != module else ""


def circle(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Return one circle of a graph, its first node again at the end; empty where there is none."""
    try:
        graphlib.TopologicalSorter({node: sorted(others) for node, others in sorted(edges.items())}).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []
