"""Fixtures of all tests: a scripted server, a clean environment, no connection beyond this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.local.handbook import handbook as handbook
from tests.wire import WireServer

# Variables that would redirect requests, supply a real key, or measure the coverage of a test's own processes.
FOREIGN = ("PARADIGM_API_KEY", "PARADIGM_BASE_URL", "LIGHTON_", "SSL_CERT_", "COVERAGE_PROCESS_")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """Start a scripted server; see `tests/wire.py`."""
    with WireServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_real_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name.upper() in PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def strays(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fail a test that looks up a name or opens a socket beyond this machine, in any thread."""
    found: list[str] = []

    def guarded(call: Callable[..., Any], host_of: Callable[..., Any]) -> Callable[..., Any]:
        def guard(*args: Any, **options: Any) -> Any:
            host = host_of(*args)
            if not _stays_here(host):
                found.append(str(host))
                pytest.fail(f"a test tried to reach {host}")
            return call(*args, **options)

        return guard

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), _host_of_address))
    monkeypatch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, lambda host, *_: host))
    yield found
    assert not found, f"tried to reach {found}"


def _host_of_address(_: socket.socket, address: Any) -> str | None:
    return address[0] if isinstance(address, tuple) else None  # other address families, such as AF_UNIX, are local


def _stays_here(host: Any) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False
