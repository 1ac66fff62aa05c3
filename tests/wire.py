"""A scripted server on a raw loopback socket, which answers each request with the next script.

    with WireServer() as wire:
        wire.script(reply(completion("Hello")))
        wire.script(sse(chunk("Hel"), chunk("lo", "stop"), chunk(usage=usage(1, 2))))
        wire.script(sse(chunk("Hel"), CUT))
        ParadigmClient(api_key="k", base_url=wire.url, ...)
        ...
        assert wire.requests[0].body["prompt"] == "Hi"

A script is a list of steps, run in order:

    bytes         are sent as they are
    CUT           closes the connection (FIN)
    RESET         resets it (RST)
    STALL         waits until the client leaves, or until `wire.release()`
    pause(0.1)    waits 0.1 seconds, or until the client leaves

After its last step the connection waits for the next request. Scripts are written by hand, or by:

    reply(body, status=200, headers=None)   a full response: a dict or list as JSON; text; bytes
    sse(*parts, done=True, …)               a stream: each dict as an event, bytes and other steps as they are
    trickle(script)                         the same bytes, one at a time
    completion("text"), chunk("text"), usage(1, 2), models("a")    bodies for them
    embeddings([1.0, 2.0])                  the same, of embeddings
    search_results(search_result("text"))   the same, of a search
    embed                                   a function for `always`: embeds each text as `vector_of` does

Each script of `script` answers one request, in order; that of `always` answers all others. Both also accept a
function that takes the request and returns a script.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import Self

REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 429: "Too Many Requests", 500: "Server Error"}


@dataclass(frozen=True)
class Step:
    """A step of a script other than sending bytes."""

    name: str
    seconds: float | None = None


CUT = Step("cut")
RESET = Step("reset")
STALL = Step("stall")


def pause(seconds: float) -> Step:
    return Step("pause", seconds)


Script = list["bytes | Step"]


def reply(body: Any = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """Write a full response."""
    kind = "application/json" if isinstance(body, (dict, list)) else "text/html; charset=utf-8"
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else to_json(body)
    return [head(status, {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}) + data]


def only_results_of_calls(request: Request) -> Script:
    """Answer a chat as strict servers do, which refuse a tool's message that follows no call with its id."""
    known: set[str] = set()
    for message in request.body["messages"]:
        if message["role"] != "tool":
            known = {call["id"] for call in message.get("tool_calls", ())}
        elif message["tool_call_id"] not in known:
            return reply({"error": {"message": "tool must follow a message with tool_calls"}}, 400)
    choice = {"message": {"role": "assistant", "content": "So."}, "finish_reason": "stop"}
    return reply({"choices": [choice]})


def sse(
    *parts: dict[str, Any] | bytes | Step,
    done: bool = True,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    chunked: bool = True,
) -> Script:
    """Write a stream of events, and `[DONE]` unless `done` is false. Each part is sent separately.

    If it is not chunked, the end of the connection ends it.
    """
    last = [event("[DONE]")] if done else []
    transfer = {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
    script: Script = [head(status, {"Content-Type": "text/event-stream", **transfer, **(headers or {})})]
    for part in [*parts, *last]:
        step = event(to_json(part)) if isinstance(part, dict) else part
        script.append(frame(step) if chunked and isinstance(step, bytes) else step)
    return [*script, b"0\r\n\r\n" if chunked else CUT]


def trickle(script: Script) -> Script:
    """Send the same bytes, one at a time."""
    return [piece for step in script for piece in (map(_byte, step) if isinstance(step, bytes) else [step])]


def _byte(value: int) -> bytes:
    return bytes([value])


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def frame(data: bytes) -> bytes:
    """Write a chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def event(data: str | bytes, name: str | None = None) -> bytes:
    """Write a server-sent event."""
    data = data.encode() if isinstance(data, str) else data
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


def to_json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def completion(*texts: str, finish_reason: str | None = "stop", **fields: Any) -> dict[str, Any]:
    """Build the body of a completion with a choice per text; `fields` are added at the top level."""
    choices = [
        {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
        for index, text in enumerate(texts)
    ]
    top = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "alfred-40b-1123"}
    return {**top, "choices": choices, "usage": usage(3, 5), **fields}


def chunk(
    text: str | None = None,
    finish_reason: str | None = None,
    index: int = 0,
    *,
    choice: Mapping[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Build the body of an event, without choices if nothing else is given; `fields` are added at the top level."""
    wire = {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason, **(choice or {})}
    choices = [] if text is None and finish_reason is None and choice is None else [wire]
    top = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "alfred-40b-1123"}
    return {**top, "choices": choices, **fields}


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def search_result(text: str | None = "a passage", score: Any = 0.83, **fields: Any) -> dict[str, Any]:
    """Build a result of a search; `fields` are added to its source, or replace the result's own."""
    own = {
        name: fields.pop(name) for name in ("chunk_id", "scores", "image", "workspace", "warnings") if name in fields
    }
    source = {
        "file_id": 12, "filename": "a.pdf", "title": "A", "mime_type": "pdf", "size_bytes": 1, "page_start": 3,
        "page_end": 4, "total_pages": 9, "tags": [{"id": 1, "name": "x"}], "content_types": [],
        "external_metadata": None, **fields,
    }  # fmt: skip
    scores = {"text": 0.7, "vision": None, "keyword": 3.1, "multivector": None, "relevance": 0.83}
    top = {"chunk_id": "6a9c1b5e-0000-4000-8000-000000000001", "content": text, "score": score, "scores": scores}
    return {**top, "source": source, "workspace": {"id": 5, "name": "W"}, **own}


def search_results(*results: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Build the reply to a search."""
    return {"results": list(results), **fields}


def models(*ids: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in ids]}


def embeddings(*vectors: Any, **fields: Any) -> dict[str, Any]:
    """Build the body of embeddings; `fields` are added at the top level."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    count = {"prompt_tokens": 2 * len(vectors), "total_tokens": 2 * len(vectors)}
    return {"object": "list", "data": data, "model": "multilingual-e5-large", "usage": count, **fields}


def vector_of(text: str) -> list[float]:
    """An embedding that tells texts apart."""
    return [float(len(text)), float(sum(map(ord, text)) % 1000), 0.5]


def inputs_of(request: Request) -> list[str]:
    """The texts that a request asks to embed."""
    given = request.body["input"]
    return [given] if isinstance(given, str) else given


def embed(request: Request) -> Script:
    """Embed the texts of a request."""
    return reply(embeddings(*map(vector_of, inputs_of(request))))


@dataclass
class Request:
    """A request as it was received.

    Attributes:
        method: in upper case.
        path: the target of the request line.
        headers: names in lower case.
        body: the parsed JSON, or None.
        raw: all its bytes.
        left: set once the client has closed or reset the connection, and when the server has.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes = field(repr=False)
    left: threading.Event = field(repr=False)


class WireServer:
    """Listens on 127.0.0.1 from construction to `close`.

    Args:
        tls: speak TLS with this context.

    Attributes:
        url: the base URL to give to a client.
        requests: all requests so far, in order.
        connections: the number of connections so far.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._scripts: deque[Any] = deque()
        self._default: Any = None
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.requests: list[Request] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}/api/v2"
        self._start(self._accept)

    def script(self, *scripts: Script | Callable[[Request], Script]) -> None:
        """Answer the next requests, each with one script."""
        self._scripts.extend(scripts)

    def always(self, script: Script | Callable[[Request], Script]) -> None:
        """Answer all requests for which no other script is left."""
        self._default = script

    @property
    def bodies(self) -> list[Any]:
        """The parsed body of each request."""
        return [request.body for request in self.requests]

    @property
    def unused(self) -> int:
        """The number of scripts that are left."""
        return len(self._scripts)

    def release(self) -> None:
        """End all STALL steps, present and future."""
        self._released.set()

    def wait_for(self, requests: int, seconds: float = 30) -> bool:
        """Wait until the number of requests has arrived; return whether it has."""
        until = time.monotonic() + seconds
        while len(self.requests) < requests and time.monotonic() < until:
            time.sleep(0.002)
        return len(self.requests) >= requests

    def close(self) -> None:
        self._released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open.add(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        left = threading.Event()
        try:
            with suppress(OSError):  # the client left, or the handshake failed
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                self._converse(_Connection(connection, left))
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
            left.set()

    def _converse(self, connection: _Connection) -> None:
        while (request := connection.read_request()) is not None:
            with self._lock:
                self.requests.append(request)
                script = self._scripts.popleft() if self._scripts else self._default
            if script is None:
                script = reply({"error": {"message": "no script is left", "code": 418}}, 418)
            for step in script(request) if callable(script) else script:
                if isinstance(step, bytes):
                    connection.send(step)
                elif step is RESET:
                    return connection.reset()
                elif step is CUT or connection.wait(step.seconds, self._released):
                    return None
        return None


class _Connection:
    def __init__(self, connection: socket.socket, left: threading.Event) -> None:
        self._socket = connection
        self._left = left
        self._data = b""

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self._left.set()
            raise

    def wait(self, seconds: float | None, released: threading.Event) -> bool:
        """Wait for the time or the release; return True if the client leaves."""
        until = time.monotonic() + (3600 if seconds is None else seconds)
        while time.monotonic() < until and not (seconds is None and released.is_set()):
            if select.select([self._socket], [], [], 0.005)[0] and not self._receive():
                return True
        return False

    def reset(self) -> None:
        # With a linger time of zero, close sends RST.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def read_request(self) -> Request | None:
        """Read the next request; return None if the client leaves."""
        while b"\r\n\r\n" not in self._data:
            if not self._receive():
                return None
        top, _, rest = self._data.partition(b"\r\n\r\n")
        line, *lines = top.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        while len(rest) < size:
            if not self._receive():
                return None
            rest = self._data.partition(b"\r\n\r\n")[2]
        body, self._data = rest[:size], rest[size:]
        parsed = json.loads(body) if body else None
        return Request(method, path, headers, parsed, top + b"\r\n\r\n" + body, self._left)

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._left.set()
        self._data += data
        return data


def texts(chunks: Iterable[Any], index: int = 0) -> str:
    """Join the text of one choice in the chunks of a stream."""
    return "".join(chunk.text for chunk in chunks if chunk.index == index)
