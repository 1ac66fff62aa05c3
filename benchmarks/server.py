"""A canned server on loopback: it answers every request from memory, so that what is measured is the client.

    python -m benchmarks.server      prints its port, and ends with its standard input

The request chooses the answer: `max_tokens` chunks if it asks for a stream, a message at `/chat/completions`, an
embedding of 1024 numbers if it has an `input`. `user` holds milliseconds of latency, or what a stream is like: `apart`
for chunks half a millisecond apart, `thoughts` if its first half is thoughts, `arguments` for a tool call whose
arguments come in pieces of four characters.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import sys
from collections.abc import Iterator

CHUNK_TEXT = " word"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def _body(text: str, finish_reason: str | None, *, chat: str = "", **others: object) -> bytes:
    choice = {"index": 0, "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
    choice |= {chat: {"role": "assistant", "content": text}} if chat else {"text": text}
    head = {"id": "cmpl-0123456789abcdef0123456789abcdef", "object": "text_completion", "created": 1795000000}
    return json.dumps({**head, "model": "canned", "choices": [choice], **others}, separators=(",", ":")).encode()


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@functools.cache
def whole(is_chat: bool = False) -> bytes:
    """Return the whole response to a request without a stream."""
    return _response(_body(CHUNK_TEXT, "stop", chat="message" if is_chat else "", usage=USAGE))


def _texts(chunks: int, kind: str) -> Iterator[tuple[str, int]]:
    """Yield the texts of a stream, each with the number of chunks that it is the text of."""
    if kind == "thoughts":
        yield from (("<think>", 1), (CHUNK_TEXT, chunks // 2), ("</think>", 1), (CHUNK_TEXT, chunks - chunks // 2 - 2))
    elif kind == "arguments":
        yield from (('<tool_call>\n{"name": "note", "arguments": {"text": "', 1), ("word", chunks - 2))
        yield '"}}\n</tool_call>', 1
    else:
        yield CHUNK_TEXT, chunks


def _frames(chunks: int, is_chat: bool, kind: str) -> Iterator[bytes]:
    """Yield the head of a stream, then its chunks."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chat = "delta" if is_chat else ""
    for text, count in _texts(chunks, kind):
        event = _event(_body(text, None, chat=chat))
        for _ in range(count):
            yield event
    yield _event(_body("", "stop", chat=chat, usage=USAGE)) + _event(b"[DONE]") + b"0\r\n\r\n"


@functools.cache
def _stream(chunks: int, is_chat: bool, kind: str) -> bytes:
    return b"".join(_frames(chunks, is_chat, kind))


@functools.cache
def _embeddings() -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [math.sin(place) / 16 for place in range(1024)]}]
    body = json.dumps({"object": "list", "data": data, "model": "canned", "usage": USAGE}, separators=(",", ":"))
    return _response(body.encode())


async def _send(writer: asyncio.StreamWriter, chunks: int, is_chat: bool, kind: str) -> None:
    if kind != "apart":
        writer.write(_stream(chunks, is_chat, kind))
        return
    for frame in _frames(chunks, is_chat, kind):
        writer.write(frame)
        await asyncio.sleep(0.0005)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            request = json.loads(await reader.readexactly(length))
            kind = request.get("user") or ""
            if kind.isdecimal():
                await asyncio.sleep(int(kind) / 1000)
            is_chat = b"/chat/completions " in head[:80]
            if "input" in request:
                writer.write(_embeddings())
            elif request.get("stream"):
                chunks = request.get("max_tokens") or request["max_completion_tokens"]
                await _send(writer, chunks, is_chat, kind)
            else:
                writer.write(whole(is_chat))
            await writer.drain()
    writer.close()


async def main() -> None:
    """Serve until the standard input ends."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=2**21, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
