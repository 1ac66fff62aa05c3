"""Sync and async classes are the same code but for `await`; `__all__` and the imports are as documented."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import paradigm_transport
from paradigm_transport import client, embedder, streams
from paradigm_transport.http import attempts, borrowed, direct, leases, pool, responses

RENAMED = {
    "AsyncParadigmClient": "ParadigmClient",
    "AsyncStream": "Stream",
    "AsyncConnections": "Connections",
    "AsyncAttempts": "Attempts",
    "AsyncResponse": "Response",
    "AsyncHTTPResponse": "HTTPResponse",
    "AsyncDirectClient": "DirectClient",
    "AsyncReply": "Reply",
    "AsyncClient": "Client",
    "AsyncHTTPTransport": "HTTPTransport",
    "AsyncConnectionPool": "ConnectionPool",
    "AsyncHTTPConnection": "HTTPConnection",
    "handle_async_request": "handle_request",
    "AsyncLease": "Lease",
    "AsyncPool": "SyncPool",
    "AsyncBorrowedPool": "BorrowedPool",
    "_aclose": "_close",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "aembed_many": "embed_many",
    "afan_out": "fan_out",
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


@pytest.mark.parametrize(("module", "name"), [(client, "ParadigmClient"), (streams, "Stream")])
def test_sync_and_async_shells_are_the_same_code(module: ModuleType, name: str) -> None:
    assert sync_source(module, f"Async{name}") == sync_source(module, name)


@pytest.mark.parametrize("name", ["read", "next_part", "_read_rest", "abandon", "__enter__", "__exit__"])
def test_sync_and_async_responses_are_the_same_code(name: str) -> None:
    counterpart = {sync: other for other, sync in RENAMED.items()}.get(name, name) if "__" in name else name
    assert sync_source(responses, f"AsyncResponse.{counterpart}") == sync_source(responses, f"Response.{name}")
    assert sync_source(responses, "_aclose") == sync_source(responses, "_close")


def test_sync_and_async_embed_many_alike() -> None:
    assert sync_source(embedder, "aembed_many") == sync_source(embedder, "embed_many")


def test_sync_and_async_direct_clients_are_the_same_code() -> None:
    assert sync_source(direct, "AsyncDirectClient") == sync_source(direct, "DirectClient")


def test_sync_and_async_attempts_open_alike() -> None:
    assert sync_source(attempts, "AsyncAttempts.open") == sync_source(attempts, "Attempts.open")


@pytest.mark.parametrize("name", ["trace", "release", "discard"])
def test_sync_and_async_leases_are_the_same_code(name: str) -> None:
    assert sync_source(leases, f"AsyncLease.{name}") == sync_source(leases, f"Lease.{name}")


def test_sync_and_async_pools_are_the_same_code() -> None:
    assert sync_source(pool, "AsyncPool.release") == sync_source(pool, "SyncPool.release")
    assert sync_source(pool, "AsyncPool._discard").replace("_discard", "discard") == sync_source(
        pool, "SyncPool.discard"
    )
    for name in ("acquire", "release"):
        assert sync_source(borrowed, f"AsyncBorrowedPool.{name}") == sync_source(borrowed, f"BorrowedPool.{name}")


def test_all_lists_what_is_exported() -> None:
    modules = {name for name, value in vars(paradigm_transport).items() if isinstance(value, ModuleType)}
    names = {*vars(paradigm_transport), *paradigm_transport._ON_FIRST_USE} - {"TYPE_CHECKING", "import_module"}
    public = {name for name in names if not name.startswith("_")} - modules
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


def test_few_modules_import_httpx_or_read_the_environment() -> None:
    package = Path(inspect.getfile(paradigm_transport)).parent
    files = {file.relative_to(package).as_posix(): file for file in package.rglob("*.py")}
    users = {name for name, file in files.items() if "httpx" in imports(file)}
    assert users == {"http/connections.py", "http/direct.py", "http/tls.py"}
    readers = {name for name, file in files.items() if "os.environ" in file.read_text()}
    assert readers == {"http/settings.py", "http/tls.py"}
