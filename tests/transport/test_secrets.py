"""The key is only in the header of requests; neither the key nor prompts are logged."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from paradigm_transport import InvalidParameterError, ParadigmError, Settings
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import CUT, STALL, WireServer, chunk, completion, reply, sse

PROMPT = "a prompt of which nobody should read in a log"


def walk(found: Any, depth: int = 0) -> str:
    """Return the reprs of an object and of its attributes, four levels deep, as a debugger shows them."""
    said = f"{found!r} {found!s}"
    if depth < 4 and hasattr(found, "__dict__") and not isinstance(found, SecretStr):
        said += "".join(walk(value, depth + 1) for value in vars(found).values() if not isinstance(value, Api))
    return said


def test_reprs_and_dumps_do_not_contain_key(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a")))
    client = api.client(wire, default_headers={"X-Gateway-Key": "gw-secret"})
    client.complete("Hi", model=MODEL)
    real = getattr(client, "real", client)
    assert KEY not in walk(real)
    assert repr(real) == f"{type(real).__name__}(base_url='{wire.url}')"
    settings = real.settings
    for said in (
        repr(settings),
        str(settings),
        settings.model_dump(),
        settings.model_dump(mode="json"),
        settings.model_dump_json(),
        json.dumps(settings.model_dump(mode="json")),
        dict(settings),
        vars(settings),
        settings.model_copy(),
    ):
        assert KEY not in str(said)
    for said in (repr(settings), settings.model_dump(), settings.model_dump_json()):
        assert "gw-secret" not in str(said)
    assert KEY not in repr(CompletionParameters(model=MODEL))


def test_pickle_of_client_contains_key(api: Api) -> None:
    client = api.client(base_url="https://host")
    assert KEY.encode() in pickle.dumps(getattr(client, "real", client))


FAULTS: dict[str, list[Any]] = {
    "refused": reply({"error": {"message": f"the key {KEY} is wrong", "code": 401}}, 401),
    "overloaded": reply({"detail": "no"}, 503),
    "cut": [CUT],
    "silent": [STALL],
    "no completion": reply({"headers": {"authorization": KEY}, "body": PROMPT}),
    "error in the stream": sse(chunk("a"), {"error": {"message": f"{KEY} of {PROMPT}"}}),
    "cut stream": sse(chunk("a"), CUT),
    "bad event": sse(chunk("a"), b"data: " + KEY.encode() + b"\n\n"),
    "good": sse(chunk("a", "length")),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_logs_and_errors_do_not_contain_key_or_prompt(
    api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture, fault: list[Any]
) -> None:
    wire.always(fault)
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio", "paradigm_transport"):
        caplog.set_level(logging.DEBUG, name)
    client = api.client(wire, timeout=0.1, max_retries=1)
    for call in (client.complete, lambda *args, **options: list(client.stream(*args, **options))):
        error = error_of(call, PROMPT)
        assert PROMPT not in str(error)
        assert KEY not in walk(error)
        assert KEY not in walk(pickle.loads(pickle.dumps(error)))
    assert any("httpcore" in record.name for record in caplog.records)  # debug logging is on
    said = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert KEY not in said
    assert PROMPT not in said


def error_of(call: Callable[..., Any], prompt: str) -> ParadigmError | None:
    try:
        call(prompt, model=MODEL)
    except ParadigmError as error:
        return error
    return None


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_tracebacks_with_locals_do_not_contain_key(api: Api, wire: WireServer, fault: list[Any]) -> None:
    wire.always(fault)
    client = api.client(wire, timeout=0.1, max_retries=1)
    for call in (client.complete, lambda *args, **options: list(client.stream(*args, **options))):
        error = error_of(call, PROMPT)
        if error is not None:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            assert (shown.__cause__, shown.__context__) == (None, None)
            frames = [frame for frame in shown.stack if "tests" not in Path(frame.filename).parts]
            assert any("paradigm_transport" in frame.filename for frame in frames)
            assert KEY not in str([frame.locals for frame in frames])


def test_parameter_errors_do_not_contain_key(api: Api) -> None:
    for fields in ({"api_key": [KEY]}, {"api_key": f"{KEY}\nx y"}, {"base_url": f"https://user:{KEY}@host"}):
        with pytest.raises(InvalidParameterError) as caught:
            api.client(**fields)
        shown = "".join(traceback.TracebackException.from_exception(caught.value).format())
        assert KEY not in shown
        assert caught.value.__context__ is None


def test_redirect_to_another_host_does_not_carry_key(api: Api, wire: WireServer) -> None:
    with WireServer() as other:
        other.always(reply(completion("stolen")))
        for status in (301, 302, 303, 307, 308):
            wire.script(reply(b"", status, {"Location": f"{other.url.replace('127.0.0.1', 'localhost')}/completions"}))
            with pytest.raises(ParadigmError, match=f"{status}.*redirects"):
                api.client(wire).complete("Hi", model=MODEL)
        assert other.connections == 0
        # An injected client may follow redirects; it drops the key.
        for status in (302, 307):
            borrowed = api.borrowed(follow_redirects=True)
            wire.script(reply(b"", status, {"Location": f"http://localhost:{other.port}/completions"}))
            assert api.client(wire, **{api.client_field: borrowed}).complete("Hi", model=MODEL).text == "stolen"
            api.close_borrowed(borrowed)
        assert len(other.requests) == 2
        assert all(KEY.encode() not in request.raw for request in other.requests)


@pytest.mark.parametrize("key", [f"  {KEY}\n", f"{KEY}\r\n", f"\t{KEY}"])
def test_whitespace_around_key_is_stripped(api: Api, wire: WireServer, key: str) -> None:
    wire.script(reply(completion("a")))
    api.client(wire, api_key=key).complete("Hi", model=MODEL)
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_plain_http_to_remote_host_warns_once() -> None:
    with pytest.warns(UserWarning, match=r"^plain\.example:8000 is called over http://"):
        Settings(api_key=KEY, base_url="http://plain.example:8000/api/v2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings(api_key=KEY, base_url="http://plain.example:8000/api/v2")
        for url in ("http://localhost:8000", "http://127.0.0.1", "http://[::1]:80", "https://plain.example"):
            Settings(api_key=KEY, base_url=url)


def test_repr_of_httpx_request_hides_key() -> None:
    """httpx redacts the header itself; if that changes, review the test of the logs."""
    request = httpx.Request("GET", "https://host", headers={"authorization": KEY})
    assert KEY not in repr(request)
    assert KEY not in repr(request.headers)
