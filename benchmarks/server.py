"""A canned server on loopback: it answers every request from memory, so that what is measured is the client.

    python -m benchmarks.server      prints its port, and ends with its standard input

The request chooses the answer: `max_tokens` chunks where it asks for a stream, an embedding of 1024 numbers where it
has an `input`, and `user` milliseconds of latency.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import sys

CHUNK_TEXT = " word"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def _body(text: str, finish_reason: str | None, **others: object) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
    head = {"id": "cmpl-0123456789abcdef0123456789abcdef", "object": "text_completion", "created": 1795000000}
    return json.dumps({**head, "model": "canned", "choices": [choice], **others}, separators=(",", ":")).encode()


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


@functools.cache
def whole() -> bytes:
    """The whole response to a request without a stream."""
    body = _body(CHUNK_TEXT, "stop", usage=USAGE)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@functools.cache
def _stream(chunks: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    last = _event(_body("", "stop", usage=USAGE)) + _event(b"[DONE]") + b"0\r\n\r\n"
    return head + _event(_body(CHUNK_TEXT, None)) * chunks + last


@functools.cache
def _embeddings() -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [math.sin(place) / 16 for place in range(1024)]}]
    body = json.dumps({"object": "list", "data": data, "model": "canned", "usage": USAGE}, separators=(",", ":"))
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body.encode(),
    )


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            request = json.loads(await reader.readexactly(length))
            await asyncio.sleep(int(request.get("user") or 0) / 1000)
            if "input" in request:
                writer.write(_embeddings())
            else:
                writer.write(_stream(request["max_tokens"]) if request.get("stream") else whole())
            await writer.drain()
    writer.close()


async def main() -> None:
    """Serve until the standard input ends."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=2**20, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
