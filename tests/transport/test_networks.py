"""Company networks: private authorities, client certificates, proxies."""

from __future__ import annotations

import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from paradigm_transport import APIConnectionError, APITimeoutError, InvalidParameterError, Settings, Timeout
from paradigm_transport.http.connections import Connections
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import STALL, WireServer, chunk, completion, event, reply, sse, texts

pytestmark = pytest.mark.usefixtures("collected")

REMOTE = "paradigm.test"
"""A name that does not resolve: only a proxy reaches it."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_context(authority: trustme.CA, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", REMOTE).configure_cert(context)
    if asks_for_certificate:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def tls(authority: trustme.CA) -> Iterator[WireServer]:
    """A scripted TLS server with a certificate of a private authority."""
    with WireServer(tls=server_context(authority)) as server:
        server.always(
            lambda request: sse(chunk("a"), chunk("", "stop")) if request.body.get("stream") else reply(completion("a"))
        )
        yield server


def works(api: Api, server: WireServer, **options: Any) -> None:
    client = api.client(**{"base_url": server.url, **options})
    assert client.complete("Hi", model=MODEL).text == "a"
    assert texts(client.stream("Hi", model=MODEL)) == "a"
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.requests)


def test_private_authority_is_not_trusted_by_default(api: Api, tls: WireServer) -> None:
    with pytest.raises(APIConnectionError, match=rf"^{tls.host} could not be reached .*CERTIFICATE_VERIFY_FAILED"):
        api.client(tls).complete("Hi", model=MODEL)
    assert tls.requests == []


def test_verify_accepts_the_path_of_a_file(api: Api, tls: WireServer, ca_file: Path) -> None:
    works(api, tls, verify=ca_file)
    works(api, tls, verify=str(ca_file))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl computes the file name in a folder of authorities")
def test_verify_and_ssl_cert_dir_accept_a_folder(
    api: Api, tls: WireServer, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(ca_file)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    shutil.copy(ca_file, tmp_path / f"{name}.0")
    works(api, tls, verify=tmp_path)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    works(api, tls)


def test_verify_accepts_an_ssl_context(api: Api, tls: WireServer, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    works(api, tls, verify=context)


def test_head_that_never_ends_over_tls_raises_at_its_deadline(api: Api, tls: WireServer) -> None:
    tls.always([b"HTTP/1.1 200 OK\r\n", STALL])
    looks = iter([0.0] * 3)
    timeout = Timeout(read=5, total=100)
    client = api.client(tls, verify=False, timeout=timeout, timer=lambda: next(looks, 1000.0), max_retries=0)
    with pytest.raises(APITimeoutError, match="within 100 seconds"):
        client.models()


def test_verify_false_accepts_any_certificate(api: Api, tls: WireServer) -> None:
    works(api, tls, verify=False)


def test_ssl_cert_file_is_trusted(api: Api, tls: WireServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    works(api, tls)


def test_objects_share_the_default_ssl_context(monkeypatch: pytest.MonkeyPatch, ca_file: Path) -> None:
    def context() -> ssl.SSLContext:
        return Connections(Settings(api_key=KEY, base_url="https://host"))._factory._ssl_context

    public = context()
    assert context() is public
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    assert context() is not public


def test_certificate_of_another_host_is_refused(api: Api, tls: WireServer, ca_file: Path) -> None:
    with pytest.raises(APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        api.client(base_url=f"https://localhost:{tls.port}", verify=ca_file, max_retries=0).complete("Hi", model=MODEL)


def test_injected_client_uses_its_own_ssl_context(api: Api, tls: WireServer, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    borrowed = api.borrowed(verify=context)
    works(api, tls, **{api.client_field: borrowed})
    api.close_borrowed(borrowed)


def test_client_certificate_is_sent(api: Api, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    own = authority.issue_cert("me@company.example")
    both, certificate, key = (str(tmp_path / name) for name in ("both.pem", "cert.pem", "key.pem"))
    own.private_key_and_cert_chain_pem.write_to_path(both)
    own.cert_chain_pems[0].write_to_path(certificate)
    own.private_key_pem.write_to_path(key)
    with WireServer(tls=server_context(authority, asks_for_certificate=True)) as server:
        server.always(lambda r: sse(chunk("a", "stop")) if r.body.get("stream") else reply(completion("a")))
        works(api, server, verify=ca_file, cert=both)
        works(api, server, verify=ca_file, cert=(certificate, key))
        seen = len(server.requests)
        with pytest.raises(APIConnectionError):
            api.client(server, verify=ca_file, max_retries=0).complete("Hi", model=MODEL)
        assert len(server.requests) == seen


@pytest.mark.parametrize(
    "options",
    [{"verify": "/nowhere/ca.pem"}, {"verify": __file__}, {"cert": "/nowhere/me.pem"}, {"cert": (__file__, __file__)}],
)
def test_unusable_verify_or_cert_is_reported_before_anything_is_sent(
    api: Api, wire: WireServer, options: dict[str, Any]
) -> None:
    for call in ("complete", "stream"):
        with pytest.raises(InvalidParameterError, match="verify, cert or SSL_CERT_FILE cannot be used") as caught:
            list(getattr(api.client(wire, **options), call)("Hi", model=MODEL))
        assert caught.value.__context__ is None
    assert wire.connections == 0


def test_unusable_ssl_cert_file_is_reported(api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(InvalidParameterError, match="SSL_CERT_FILE cannot be used"):
        api.client(wire).complete("Hi", model=MODEL)


def test_streams_over_tls_reuse_a_connection(api: Api, tls: WireServer, ca_file: Path) -> None:
    client = api.client(tls, verify=ca_file)
    for _ in range(5):
        assert texts(client.stream("Hi", model=MODEL)) == "a"
    assert tls.connections == 1


@pytest.mark.parametrize("leave", ["close", "drop", "drain"])
def test_leaving_a_stream_over_tls_ends_its_connection(
    api: Api, tls: WireServer, ca_file: Path, leave: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paradigm_transport.http.responses.DRAIN_SECONDS", 0.05)
    end = [event("[DONE]")] if leave == "drain" else []
    tls.script(sse(chunk("a"), *end, STALL, done=False))
    chunks = api.client(tls, verify=ca_file).stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    if leave == "close":
        chunks.close()
    elif leave == "drain":
        assert [piece.is_last for piece in chunks] == [True]
    del chunks
    api.turn()
    assert tls.requests[0].left.wait(30)


# Proxies.


class Tunnel:
    """A proxy that connects one CONNECT, to any name, to a server on this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        near, _ = self._listener.accept()
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            self.asked = near.recv(65536)
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            other = {near: far, far: near}
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    other[source].sendall(data)

    def close(self) -> None:
        self._thread.join(5)
        self._listener.close()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_goes_through_the_proxy_of_the_environment(
    api: Api, tls: WireServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    tunnel = Tunnel(tls.port)
    monkeypatch.setenv(variable, f"http://me:pa55@127.0.0.1:{tunnel.port}")
    works(api, tls, base_url=f"https://{REMOTE}", verify=ca_file)
    assert tls.requests[0].headers["host"] == REMOTE
    assert tunnel.asked.startswith(f"CONNECT {REMOTE}:443 ".encode())
    assert b"proxy-authorization: basic" in tunnel.asked.lower()
    assert KEY.encode() not in tunnel.asked
    api.made[0].close()
    tunnel.close()


@pytest.mark.filterwarnings("ignore:paradigm.test is called over http")
def test_http_goes_through_the_proxy_of_the_environment(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{wire.host}")
    wire.script(reply(completion("a")))
    assert api.client(base_url=f"http://{REMOTE}").complete("Hi", model=MODEL).text == "a"
    assert wire.requests[0].path == f"http://{REMOTE}/api/v2/completions"


def test_no_proxy_excludes_a_host(api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,other")
    wire.script(reply(completion("a")))
    assert api.client(wire).complete("Hi", model=MODEL).text == "a"


def test_refusal_of_a_proxy_is_a_connection_error_without_its_password(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:pa55@{wire.host}")
    wire.always(reply("<html>Who are you?</html>", 407))
    with pytest.raises(APIConnectionError, match=rf"^{REMOTE} could not be reached .*407.*proxy") as caught:
        api.client(base_url=f"https://{REMOTE}").complete("Hi", model=MODEL)
    assert "pa55" not in str(caught.value)
    assert wire.requests[0].method == "CONNECT"
    assert all(KEY.encode() not in request.raw for request in wire.requests)


@pytest.mark.parametrize("proxy", ["gopher://me:pa55@127.0.0.1:1", "socks5://127.0.0.1:1", "http://[::1"])
def test_unusable_proxy_is_reported_without_its_password(api: Api, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(InvalidParameterError, match="The proxy set in the environment cannot be used") as caught:
        api.client(base_url=f"https://{REMOTE}").complete("Hi", model=MODEL)
    assert "pa55" not in str(caught.value)
    assert caught.value.__context__ is None
