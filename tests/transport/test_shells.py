"""The two shells are the same code but for `await`; what is exported is what is promised."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import paradigm_transport
from paradigm_transport import client
from paradigm_transport.http import connections, pool

RENAMED = {
    "AsyncParadigmClient": "ParadigmClient",
    "AsyncCompletionStream": "CompletionStream",
    "AsyncConnections": "Connections",
    "AsyncAnswer": "Answer",
    "AsyncLease": "Lease",
    "AsyncPool": "SyncPool",
    "_aclose": "_close",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "anext": "next",
    "aread": "read",
    "aiter_bytes": "iter_bytes",
    "asyncio": "time",
}


class Sync(ast.NodeTransformer):
    """Takes the async out of a class: no `async`, no `await`, the sync names, no docstrings."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit(ast.FunctionDef(**vars(node)))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = RENAMED.get(node.name, node.name)
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = RENAMED.get(node.name, node.name)
        return self._without_docstring(node)

    def _without_docstring(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.generic_visit(ast.With(**vars(node)))

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(RENAMED.get(node.id, node.id), node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Attribute(self.visit(node.value), RENAMED.get(node.attr, node.attr), node.ctx)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Awaitable":
            return self.visit(node.slice)
        return self.generic_visit(node)


def sync_source(module: ModuleType, name: str) -> str:
    """A class or `Class.method` of a module, as sync code."""
    tree = ast.parse(inspect.getsource(module))
    node: ast.AST = tree
    for part in name.split("."):
        node = next(child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == part)
    return ast.unparse(ast.fix_missing_locations(Sync().visit(node)))


@pytest.mark.parametrize("name", ["ParadigmClient", "CompletionStream"])
def test_the_clients_are_the_same_code(name: str) -> None:
    assert sync_source(client, f"Async{name}") == sync_source(client, name)


@pytest.mark.parametrize("name", ["read", "next_part", "_read_rest", "__enter__", "__exit__"])
def test_the_answers_are_the_same_code(name: str) -> None:
    counterpart = {sync: other for other, sync in RENAMED.items()}.get(name, name) if "__" in name else name
    assert sync_source(connections, f"AsyncAnswer.{counterpart}") == sync_source(connections, f"Answer.{name}")


def test_the_connections_open_alike() -> None:
    assert sync_source(connections, "AsyncConnections.open") == sync_source(connections, "Connections.open")


def test_the_leases_are_the_same_code() -> None:
    end = sync_source(pool, "AsyncLease.end").replace("free.release()", "free.put(None)")
    assert end == sync_source(pool, "Lease.end")


def test_all_is_what_is_exported() -> None:
    modules = {name for name, value in vars(paradigm_transport).items() if isinstance(value, ModuleType)}
    public = {name for name in vars(paradigm_transport) if not name.startswith("_")} - modules
    assert public | {"__version__"} == set(paradigm_transport.__all__)
    assert sorted(paradigm_transport.__all__) == sorted(set(paradigm_transport.__all__))


def imports(path: Path) -> set[str]:
    """The modules that a file imports, by their first names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_httpx_is_touched_in_one_module_and_the_environment_read_in_few() -> None:
    files = list(Path(inspect.getfile(paradigm_transport)).parent.rglob("*.py"))
    assert [file.name for file in files if "httpx" in imports(file)] == ["connections.py"]
    assert {file.name for file in files if "os.environ" in file.read_text()} == {"settings.py", "connections.py"}
