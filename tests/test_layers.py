"""The architecture, as tests over the source."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import domcaps_exporter

ROOT = Path(__file__).parent.parent
PACKAGES = (ROOT / "exporter" / "domcaps_exporter", *sorted(path.parent for path in (ROOT / "plugins").glob("*/__init__.py")))
MODULES = {
    path.relative_to(package.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): ast.parse(
        path.read_text(), str(path)
    )
    for package in PACKAGES
    for path in sorted(package.rglob("*.py"))
}
PLUGINS = tuple(name for name in MODULES if not name.startswith("domcaps_exporter"))
ACTING = frozenset("os socket subprocess threading time multiprocessing selectors signal shutil fcntl ctypes".split())
"""What only modules that act on the host may import."""
MUTABLE = frozenset("list dict set bytearray defaultdict Counter deque OrderedDict".split())
CHANGERS = frozenset("append extend insert add update setdefault pop popitem clear remove discard sort".split())
LONGEST = 40

Function = ast.FunctionDef | ast.AsyncFunctionDef

every_module = pytest.mark.parametrize("name", MODULES)


def imported(name: str) -> Iterator[str]:
    """Every module that a module imports, anywhere in it; of our own packages the very module."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (one if one in MODULES else str(node.module) for one in whole)


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines from `def` on, docstring excluded."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    return lines - ((first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0)


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: {other for other in imported(name) if other in MODULES and other != name} for name in MODULES}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_the_core_knows_no_plugin() -> None:
    for name in set(MODULES) - set(PLUGINS):
        assert not [other for other in imported(name) if other in PLUGINS], name


def test_plugins_see_nothing_of_the_core_but_what_authors_are_promised() -> None:
    modules = ("contents", "document", "inquiry", "libvirt", "model", "patience", "qmp", "rules", "view")
    promised = {"domcaps_exporter", *(f"domcaps_exporter.{name}" for name in modules)}
    for name in PLUGINS:
        assert {other for other in imported(name) if other.startswith("domcaps_exporter")} <= promised, name


def test_plugins_take_only_public_names() -> None:
    for name in PLUGINS:
        for node in ast.walk(MODULES[name]):
            if isinstance(node, ast.ImportFrom) and node.module == "domcaps_exporter":
                assert {alias.name for alias in node.names} <= set(domcaps_exporter.__all__), name
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("domcaps_exporter."):
                assert not [alias.name for alias in node.names if alias.name.startswith("_")], name


def test_no_plugin_knows_another() -> None:
    for name in PLUGINS:
        own = name.split(".")[0]
        assert not [other for other in imported(name) if other in PLUGINS and other.split(".")[0] != own], name


@every_module
def test_a_module_says_its_job(name: str) -> None:
    docstring = ast.get_docstring(MODULES[name])
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":")), docstring.splitlines()[0]


PURE = tuple(name for name in MODULES if re.search(r"\bPure\.", ast.get_docstring(MODULES[name]) or ""))


def test_most_of_the_drivers_and_the_exposition_is_pure() -> None:
    assert {"domcaps_exporter.metrics", "domcaps_exporter.exposition", "domcaps_qemu.table", "domcaps_qemu.describe"} <= set(PURE)


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_cannot_act(name: str) -> None:
    assert not {other.split(".")[0] for other in imported(name)} & ACTING


@every_module
def test_imports_stand_at_the_top(name: str) -> None:
    top = [node for node in MODULES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [node for node in ast.walk(MODULES[name]) if isinstance(node, ast.Import | ast.ImportFrom)] == top


@every_module
def test_no_function_is_too_long(name: str) -> None:
    long = {function.name: length(function) for function in functions(MODULES[name]) if length(function) > LONGEST}
    assert not long


@every_module
def test_no_module_keeps_a_state(name: str) -> None:
    """What could be changed at a module's top is a constant by its name, is not changed, and no function rebinds anything."""
    constants = {target for target, value in assigned(MODULES[name]) if mutable(value)}
    assert not [target for target in constants if not (target.isupper() or target == "__all__")]
    assert not [ast.unparse(node) for node in ast.walk(MODULES[name]) if isinstance(node, ast.Global) or changed(node) in constants]


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((ast.unparse(target), node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.value


def mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in MUTABLE
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def changed(node: ast.AST) -> str:
    """What a node changes in place; empty where it changes nothing."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return ast.unparse(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGERS:
        return ast.unparse(node.func.value)
    return ""


@every_module
def test_types_are_what_runs(name: str) -> None:
    assert not {"TYPE_CHECKING", "cast"} & {node.id for node in ast.walk(MODULES[name]) if isinstance(node, ast.Name)}
