"""Refusals: a status and a body in, an error out; redaction; and lenient reading of any JSON response.

A response may hold the key and the prompt, since gateways like to repeat the request. What leaves this module in a
message or a body went through the redaction of `Origin`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic_core import from_json

from paradigm_transport.errors import BY_STATUS, APIConnectionError, APIResponseError, APIStatusError, ServerError

MESSAGE_LIMIT = 500
"""The most characters of the server's words in a message."""

MIN_REDACTED_PROMPT = 12
"""Shorter prompts are not redacted from the server's words: common words would go with them."""

MIN_SECRET_IN_WORDS = 8
"""Shorter secrets are redacted only as whole words: `local` must not garble `localhost`."""

REDACTED = "[…]"

MAX_RETRY_AFTER_LENGTH = 64
"""Longer headers are not read: they hold neither seconds nor a date, and reading them as one takes long."""

MAX_DIGITS = 300
"""Longer whole numbers are read as floats; Python refuses those of over 4,300 digits."""

_HINTS = {
    401: "Check api_key (or PARADIGM_API_KEY), and that the key belongs to this host.",
    403: "The key has no right to this; ask the administrator of the platform.",
    404: "Check model and base_url (or PARADIGM_BASE_URL).",
    413: "The request is larger than the server accepts.",
}


@dataclass(frozen=True)
class Redaction:
    """Removes secrets and the user's texts from what leaves in errors.

    Attributes:
        secrets: the key, values of headers, passwords; removed from messages and bodies in every form that they take
            in JSON, in addresses and in HTML. One of fewer than 8 characters is removed only as a whole word.
        prompts: the user's texts; one is removed from messages if it has 12 characters or more.
    """

    secrets: tuple[str, ...] = field(default=(), repr=False)
    prompts: tuple[str, ...] = field(default=(), repr=False)

    def body(self, value: Any) -> Any:
        """Return a parsed body without the secrets, at any depth."""
        return _map_text(value, self._without_secrets)

    def words(self, body: object) -> str:
        """Return the words of a text or of an error's parsed body, fit for a message.

        They are without the secrets and the prompt, on one line, and of at most `MESSAGE_LIMIT` characters.
        """
        words = self._without_anything(server_words(body, self._without_anything))  # a page may have escaped them
        return words if len(words) <= MESSAGE_LIMIT else words[: MESSAGE_LIMIT - 1] + "…"

    def _without_secrets(self, text: str) -> str:
        return _secret_pattern(self.secrets).sub(REDACTED, text) if self.secrets else text

    def _without_anything(self, text: str) -> str:
        if any(word in text for word in self._words_of_prompts):
            for form in self._forms_of_prompts:
                text = text.replace(form, REDACTED)
        return self._without_secrets(text)

    @cached_property
    def _long_prompts(self) -> list[str]:
        return [prompt for prompt in self.prompts if len(prompt) >= MIN_REDACTED_PROMPT]

    @cached_property
    def _words_of_prompts(self) -> list[str]:
        """A word of each prompt, which is the same in all its forms: most texts, such as request ids, have none."""
        return [max(re.findall(_WORD, prompt[:200]), key=len, default="") for prompt in self._long_prompts]

    @cached_property
    def _forms_of_prompts(self) -> list[str]:
        """The longest first: one prompt may hold another."""
        forms = dict.fromkeys(form for prompt in self._long_prompts for form in _forms_of_prompt(prompt) if form)
        return sorted(forms, key=len, reverse=True)


_WORD = r"[A-Za-z0-9]+"


def _forms_of_prompt(prompt: str) -> list[str]:
    """The prompt as servers and libraries quote it: as it is, on one line, in JSON, in Python, in HTML."""
    quoted = (repr(prompt), json.dumps(prompt), json.dumps(prompt, ensure_ascii=False))
    data = repr(prompt.encode(errors="replace"))
    escaped = html.escape(prompt)
    in_numbers = escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    return [prompt, " ".join(prompt.split()), *(form[1:-1] for form in quoted), data[2:-1], escaped, in_numbers]


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_text(entry, change) for entry in value]
    if isinstance(value, dict):
        return {_map_text(name, change): _map_text(entry, change) for name, entry in value.items()}
    return value


@lru_cache(maxsize=16)
def _secret_pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    forms = {secret: "".join(map(_pattern_of_character, secret)) for secret in sorted(secrets, key=len, reverse=True)}
    words = [form if len(secret) >= MIN_SECRET_IN_WORDS else rf"(?<!\w){form}(?!\w)" for secret, form in forms.items()]
    return re.compile("|".join(words))


def _pattern_of_character(char: str) -> str:
    """Match the forms that a character of a secret takes in text, in JSON, in addresses and in HTML."""
    if char.isascii() and char.isalnum():
        return char
    code = ord(char)
    forms = map(re.escape, (json.dumps(char)[1:-1], quote(char, safe=""), quote_plus(char), html.escape(char), char))
    return rf"(?i:{'|'.join(forms)}|\\u{code:04x}|&#(?:0*{code}|x0*{code:x});)"


@dataclass(frozen=True)
class Origin:
    """Where a response came from: what its errors say, and what they must not.

    Attributes:
        host: the host that was called.
        headers: the headers of the response, names in lower case.
        redaction: removes what must not be in errors.
        hints: what to do about an error, by its status, in place of the general advice.
        now: when it came, in Unix seconds, to read a Retry-After date against.
    """

    host: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    redaction: Redaction = Redaction()
    hints: Mapping[int, str] = field(default_factory=dict, repr=False)
    now: float = 0.0

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, if it sent one."""
        request_id = self.headers.get("x-request-id") or self.headers.get("request-id")
        return self.redaction.words(request_id) if request_id else None


# Errors


def status_error(status: int, body: object, origin: Origin) -> APIStatusError:
    """Return the error for a refusal.

    Args:
        status: the HTTP status, or the code of an error inside a 200 response.
        body: the body: bytes, or what they were parsed into.
        origin: where it came from.
    """
    body = _clean(body, origin)
    hint = origin.hints.get(status) or _HINTS.get(status, "")
    if 300 <= status < 400:
        target = origin.redaction.words(origin.headers.get("location", "another address").split("?")[0])
        hint = f"It redirects to {target}; redirects are not followed: set base_url to the final address."
    should_retry = {"true": True, "false": False}.get(origin.headers.get("x-should-retry", "").strip().lower())
    milliseconds = parse_retry_after(origin.headers.get("retry-after-ms"), origin.now)
    seconds = parse_retry_after(origin.headers.get("retry-after"), origin.now)
    kind = BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    error = kind(
        _message(f"answered {status}", body, hint, origin),
        status_code=status,
        body=body,
        request_id=origin.request_id,
        retry_after=seconds if milliseconds is None else milliseconds / 1000,
        should_retry=should_retry,
    )
    is_spent = status == 429 and re.search(_SPENT, str(body))  # waiting does not bring back a budget
    if should_retry is None and (is_spent or is_context_overflow(error)):
        error.should_retry = False
    return error


_SPENT = r"(?i)insufficient_quota|exceeded your current quota|budget|billing|out of credits"


def is_context_overflow(error: BaseException) -> bool:
    """Return whether an error says that the prompt, with its completion, is longer than the model's context.

    A `max_tokens` that alone is longer does not count: a shorter prompt would not help.
    """
    if not isinstance(error, APIStatusError) or error.status_code not in (400, 413, 422, 500):
        return False
    inner = error.body.get("error") if isinstance(error.body, dict) else None
    words = f"{error} {inner.get('code')} {inner.get('type')}" if isinstance(inner, dict) else str(error)
    limit, asked = re.search(_LIMIT, words), re.search(_COMPLETION, words)
    if limit and asked and int(asked[asked.lastindex or 0]) >= int(limit[1]):
        return False
    return error.status_code == 413 or re.search(_OVERFLOW, words) is not None


def room_for_completion(error: Exception) -> int | None:
    """Return how many tokens a completion may have, if a refusal says so; below 1 if the prompt is too long itself."""
    if not isinstance(error, APIStatusError) or error.status_code not in (400, 422):
        return None
    limit, prompt = re.search(_LIMIT, str(error)), re.search(_PROMPT, str(error))
    return int(limit[1]) - (int(prompt[1]) if prompt else 0) if limit else None


# Like the other expressions here, these are compiled by their first use: most programs never need them.
_OVERFLOW = (
    r"(?i)maximum context length|(than|exceeds?) the maximum model length"  # vLLM, OpenAI
    r"|prompt \(length \d+\) is longer|longer than the model's context length"  # vLLM, SGLang
    r"|exceeds? (the )?(available |model's )?context (size|window|length|limit)"  # llama.cpp
    r"|request \(\d+ tokens\) exceeds"
    r"|inputs`? tokens \+ `?max_new_tokens`? must be|inputs`? must have less than \d+ tokens"  # TGI
    r"|ContextWindowExceeded|context_length_exceeded|exceed_context_size|prompt is too long"  # LiteLLM, codes
    r"|must fit into the context"  # the local Paradigm
)
_COUNT = r"(\d{1,15})"  # bounded: an expression that begins with `\d+` is quadratic in a long row of digits
_LIMIT = rf"(?:context length is |max_new_tokens`? must be <= |max_model_len=){_COUNT}"
_PROMPT = rf"{_COUNT} (?:input tokens|in (?:the|your) (?:messages|prompt)|`?inputs`? tokens)"
_COMPLETION = rf"too large: {_COUNT}|{_COUNT} (?:in|for) the completion|{_COUNT} `?max_new_tokens"


def aborted(finish_reason: str, text: str, body: object, origin: Origin) -> ServerError:
    """Return the error for a completion that the server gave up, with the text so far."""
    return ServerError(
        f"{origin.host} ended the completion before its end (finish_reason {origin.redaction.words(finish_reason)!r}).",
        status_code=500,
        body=_clean(body, origin),
        request_id=origin.request_id,
        partial_text=text,
    )


def unexpected_response(
    body: object, origin: Origin, hint: str = "Check base_url (or PARADIGM_BASE_URL)."
) -> APIResponseError:
    """Return the error for a response that is not what was asked for.

    Args:
        body: the response.
        origin: where it came from.
        hint: what is wrong with it, or what to do.
    """
    body = _clean(body, origin)
    message = _message("returned an unexpected response", body, hint, origin)
    return APIResponseError(message, body=body, request_id=origin.request_id)


def _clean(body: object, origin: Origin) -> Any:
    """Return the body of an error without the secrets: parsed if it is JSON, else its text."""
    parsed = body
    if isinstance(body, bytes):
        try:
            parsed = from_json(body)
        except ValueError:
            parsed = body.decode("utf-8", "replace")
    return origin.redaction.body(parsed)


def _message(event: str, body: object, hint: str, origin: Origin) -> str:
    words = origin.redaction.words(body)
    message = f"{origin.host} {event}: {words}" if words else f"{origin.host} {event}"
    return f"{message if message[-1] in '.!?…' else message + '.'} {hint}".strip()


# Reading


def parse_reply(
    data: bytes, origin: Origin, *, is_error: bool = False, is_held: Callable[[bytes], bool] | None = None
) -> Any:
    """Parse the JSON of a reply, or of an event of a stream; None if it is held.

    Args:
        data: the bytes.
        origin: where they came from.
        is_error: the event was named an error.
        is_held: asked whether data that are not valid JSON, such as those with half a surrogate pair, are read later.

    Raises:
        APIStatusError: it is an error of the server's.
        APIConnectionError: it breaks off in the middle.
        APIResponseError: it is not JSON.
    """
    is_cut = False
    try:
        body = from_json(data)
    except ValueError as problem:
        if is_held is not None and is_held(data):
            return None
        is_cut = data.lstrip()[:1] in (b"{", b"[") and str(problem).startswith("EOF")
        body = None if is_cut else _parse_leniently(data)
    code = error_code(body)
    if is_error and code is None:
        code = error_code({"error": body}) or 500
    if code is not None:
        raise status_error(code, data if body is None else body, origin)
    if is_cut:
        raise APIConnectionError(f"{origin.host} broke off its response in the middle.")
    if body is None:
        raise unexpected_response(data, origin)
    return body


def ends_in_half(data: bytes) -> bool:
    """Return whether a text in JSON ends with the first half of a surrogate pair."""
    return re.search(_FIRST_HALF, data) is not None


def join_halves(data: bytes, following: bytes) -> tuple[bytes, bytes]:
    """Move second halves of surrogate pairs from the next event to the first halves, if they belong together.

    A gateway that cuts a text by UTF-16 can cut an emoji in two.
    """
    seconds = re.findall(_SECOND_HALF, following)
    if len(seconds) != len(re.findall(_FIRST_HALF, data)):
        return data, following
    rest = iter(seconds)
    joined = re.sub(_FIRST_HALF, lambda first: first[0] + next(rest), data)
    return joined, re.sub(_SECOND_HALF, b"", following)


_FIRST_HALF = rb'(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?=")'
_SECOND_HALF = rb'(?<=(?<!\\)")\\u[dD][c-fC-F][0-9a-fA-F]{2}'


def _parse_leniently(data: bytes) -> Any:
    """Parse JSON in spite of a BOM, bytes that are not UTF-8, half a surrogate pair or a number of 5,000 digits.

    None if it is not JSON.
    """
    try:
        text = data.decode("utf-8-sig", "replace")
        body = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < MAX_DIGITS else float(digits))
        text = json.dumps(body, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return from_json(text)
    except (ValueError, RecursionError):
        return None


def error_code(body: object) -> int | None:
    """Return the code of an error inside a 200 response or a stream; None if the body is not an error.

    Any of the forms that servers refuse with counts, if it stands in place of a reply: `{"error": {…, "code": 400}}`,
    `{"error": "…", "code": 403}`, `{"object": "error", …}`, `{"detail": "…"}`, `{"errors": […]}`, `{"code": 429}`,
    `{"field": ["message", …]}`. An error without a usable code counts as 500.
    """
    if not isinstance(body, dict):
        return None
    inner = body.get("error")
    is_reply = "choices" in body or not body.keys().isdisjoint(_OF_REPLIES)
    is_error = bool(inner) or (inner is not None and not is_reply) or body.get("object") == "error"
    if is_reply and not is_error:
        return None
    code = _status(inner.get("code") if isinstance(inner, dict) else body.get("code"))
    return code or (500 if is_error or server_words(body) else None)


_OF_REPLIES = ("data", "object", "results", "usage")
"""Keys that replies have and errors do not, beside `choices`."""


def _status(code: object) -> int | None:
    """Return a code if it is the status of an error."""
    if isinstance(code, str) and len(code) == 3 and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else None


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date, as seconds from `now`; None if it is neither."""
    if value is None or len(value) > MAX_RETRY_AFTER_LENGTH:
        return None
    try:
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        # "-0000" reads as a naive date; HTTP dates are always UTC.
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None


# The server's words


def server_words(body: object, redact: Callable[[str], str] = str) -> str:
    """Find the server's own words in any of the shapes that servers of this family use for errors.

    Args:
        body: the body of the error, parsed.
        redact: changes each text before words are taken out of it, which changes its white space and its escapes.

    Returns:
        The words, on one line; of those in long lists, as many as a message can show.
    """
    if isinstance(body, str):
        return _text_of_page(redact(body))
    if isinstance(body, list):
        return _join("; ", filter(None, (server_words(entry, redact) for entry in body)))
    if not isinstance(body, dict):
        return ""
    if isinstance(body.get("msg"), str):  # {"loc": ["body", "temperature"], "msg": "…", "input": …}: never the input
        loc = body.get("loc")
        where = _join(".", (redact(str(part)) for part in loc if part != "body")) if isinstance(loc, list) else ""
        return f"{where}: {redact(body['msg'])}" if where else redact(body["msg"])
    by_field = body.get("fields")
    if isinstance(by_field, dict):  # {"detail": the same for all, "fields": {"query": [{"error": "…", "detail": "…"}]}}
        found = ((name, server_words(errors, redact)) for name, errors in by_field.items())
        words = _join("; ", (f"{redact(name)}: {words}" for name, words in found if words))
        if words:
            return words
    if isinstance(body.get("error"), str) and isinstance(body.get("detail"), str):  # the first is a code
        return server_words(body["detail"], redact)
    for key in ("error", "detail", "message", "errors", "non_field_errors"):
        words = server_words(body.get(key), redact)
        if words:
            return words
    messages_by_field = (  # {"field": ["message", …]}
        f"{redact(field)}: {_join(' ', map(redact, messages))}"
        for field, messages in body.items()
        if isinstance(messages, list) and messages and all(isinstance(message, str) for message in messages)
    )
    return _join("; ", messages_by_field)


def _join(separator: str, texts: Iterable[str]) -> str:
    """Join texts, as many as a message can show."""
    joined, length = [], 0
    for text in texts:
        joined.append(text)
        length += len(text) + len(separator)
        if length > MESSAGE_LIMIT + len(separator):
            break
    return separator.join(joined)


_PAGE = r"(?i)<(!doctype|html|head|body|title|h1|center)\b"
_TITLE = r"(?i)<title\b"
_END_OF_TITLE = r"(?i)</title\b"


def _text_of_page(text: str) -> str:
    """Return the words of a gateway's HTML page, of its title if it has one; plain text as it is."""
    if re.search(_PAGE, text):
        title = re.search(_TITLE, text)
        if title is not None:
            begin = text.find(">", title.end()) + 1
            end = re.compile(_END_OF_TITLE).search(text, begin)
            text = text[begin : end.start() if end else None]
        # No regular expression for tags: on a page of "<" it would be quadratic.
        first, *others = text.split("<")
        text = first + " ".join(other.partition(">")[2] for other in others)
        with suppress(ValueError):  # Python refuses references of over 4,300 digits, `&#999…;`
            text = html.unescape(text)
    return " ".join(text.split())
