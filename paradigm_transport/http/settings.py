"""Key, base URL, time-outs: how to reach the server. The only place that reads the key and URL from the environment."""

from __future__ import annotations

import os
import re
import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from os import PathLike
from ssl import SSLContext
from typing import Annotated, Literal, TypeVar, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from pydantic import AfterValidator, Field, SecretStr, SkipValidation, ValidationInfo, WithJsonSchema, field_validator

from paradigm_transport.arguments import Fields, Key
from paradigm_transport.http.protocols import AsyncHTTPClient, HTTPClient, TimeoutLike
from paradigm_transport.http.timeouts import check_timeout

DEFAULT_BASE_URL = "https://paradigm.lighton.ai/api/v2"
DEFAULT_PATH = "/api/v2"

_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_VERSION = r"/v\d+$"
_ENDPOINT = "/((chat/)?completions|embeddings|search)$"

MIN_SECRET = 4
"""A shorter header value is not a secret; redacting it would garble other words."""

_warned_hosts: set[str] = set()

T = TypeVar("T")
Opaque = Annotated[T, SkipValidation, WithJsonSchema({}), Field(exclude=True)]
"""The type of a field that pydantic cannot check, describe or dump."""

Waits = Annotated[Opaque[float | TimeoutLike | None], AfterValidator(check_timeout)]
"""The type of an argument `timeout`."""


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Check an argument that holds headers.

    Raises:
        ValueError: one cannot be sent.
    """
    for name, value in headers.items():
        if not (re.fullmatch(_HEADER_NAME, name) and value.isascii() and value.isprintable()):
            raise ValueError(f"{name!a} contains characters that no header can have")
        if value != value.strip():
            raise ValueError(f"{name!a} has a value that begins or ends with a space")
    return headers


Headers = Annotated[dict[str, str], AfterValidator(check_headers)]
"""The type of an argument that holds headers."""


class ConnectionFields(Fields):
    """How to reach the server: declarations and checks only."""

    api_key: Key = Field(
        default=None,  # the validator takes it from the environment
        validate_default=True,
        exclude=True,
        description="The key; by default PARADIGM_API_KEY, then LIGHTON_API_KEY.",
    )
    api_key_header: Literal["Authorization", "X-Api-Key"] = Field(
        default="Authorization",
        description="The header that carries the key: `Authorization`, as a bearer token, or `X-Api-Key`.",
    )
    base_url: str = Field(
        default=None,  # likewise
        validate_default=True,
        description="The server's address; by default PARADIGM_BASE_URL. A bare host gets /api/v2.",
    )
    timeout: Waits = Field(
        default=120.0,
        description="The most seconds to wait for the next bytes (5 at most to connect, an hour or "
        "as much for the whole call); a Timeout or an httpx.Timeout sets each; None waits forever.",
    )
    max_retries: int = Field(
        default=2, ge=0, description="The most retries of a request after transient failures, 0 or more."
    )
    max_concurrency: int = Field(
        default=256, ge=1, description="The most requests in flight at once when many are sent, 1 or more."
    )
    max_response_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1,
        description="The most bytes of a response, whole or streamed and decompressed, 1 or more.",
    )
    stream_usage: bool = Field(default=True, description="Ask for usage at the end of a stream.")
    default_headers: Headers | None = Field(
        default=None, exclude=True, repr=False, description="Further headers of every request."
    )
    verify: Opaque[bool | str | PathLike[str] | SSLContext] = Field(
        default=True, description="TLS: True, False, the path of a CA file or folder, or an ssl.SSLContext."
    )
    cert: str | tuple[str, str] | None = Field(
        default=None, exclude=True, description="TLS: the path of a client certificate, or of it and its key."
    )
    http_client: Opaque[HTTPClient | None] = Field(
        default=None,
        repr=False,
        description="An httpx.Client, or an object with its methods `build_request`, `send` and `close`. Never closed.",
    )
    http_async_client: Opaque[AsyncHTTPClient | None] = Field(
        default=None,
        repr=False,
        description="An httpx.AsyncClient, or an object with its methods `build_request`, `send` and `aclose`. Never "
        "closed.",
    )

    @field_validator("api_key", mode="before")
    @classmethod
    def _find_key(cls, given: object) -> SecretStr:
        if given is None:
            given = (
                os.environ.get("PARADIGM_API_KEY", "").strip() or os.environ.get("LIGHTON_API_KEY", "").strip() or None
            )
        if given is None:
            raise ValueError("it is missing: pass api_key or set PARADIGM_API_KEY")
        key = given.get_secret_value() if isinstance(given, SecretStr) else given
        if not isinstance(key, str):
            raise ValueError(f"it must be a string, not {type(key).__name__}")
        key = key.strip()
        if not key:
            raise ValueError("it is empty: pass api_key or set PARADIGM_API_KEY")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("it contains characters that no key has; was something else copied with it?")
        return SecretStr(key)

    @field_validator("base_url", mode="before")
    @classmethod
    def _find_base_url(cls, given: object) -> object:
        url = given if given is not None else os.environ.get("PARADIGM_BASE_URL", "").strip() or DEFAULT_BASE_URL
        return normalize_base_url(url) if isinstance(url, str) else url

    @field_validator("http_client", "http_async_client")
    @classmethod
    def _check_client(cls, client: object, info: ValidationInfo) -> object:
        wanted = HTTPClient if info.field_name == "http_client" else AsyncHTTPClient
        if client is not None and not isinstance(client, wanted):
            kind = "Client" if wanted is HTTPClient else "AsyncClient"
            raise ValueError(f"it must be an httpx.{kind} or like one, not {type(client).__name__}")
        return client


class Settings(ConnectionFields):
    """How to reach the server.

    Raises:
        InvalidParameterError: a value is missing, of a wrong type or out of its range.
    """

    @property
    def host(self) -> str:
        """The host that is called, and its port if it has one; for messages."""
        return urlsplit(self.base_url).netloc

    @property
    def key(self) -> str:
        """The key as it is sent."""
        return cast("SecretStr", self.api_key).get_secret_value()  # which mypy does not see in a subclass

    @property
    def authentication(self) -> dict[str, str]:
        """The header that carries the key, its name in lower case."""
        is_bearer = self.api_key_header == "Authorization"
        return {self.api_key_header.lower(): f"Bearer {self.key}" if is_bearer else self.key}

    def url_of(self, version: str | None) -> str:
        """Return the address of a version of the API: `base_url` with its last part replaced, if that is a version.

        Args:
            version: such as `v3`; empty for none; None for that of `base_url`.
        """
        return self.base_url if version is None else re.sub(_VERSION, f"/{version}" if version else "", self.base_url)

    @property
    def secrets(self) -> Secrets:
        """What must be nowhere but on the wire: the key, values of headers, credentials of proxies."""
        return Secrets((self.key, *secret_values(self.default_headers), *_proxy_credentials()))


def secret_values(headers: Mapping[str, str] | None) -> list[str]:
    """Return the values of headers that are long enough to be secrets."""
    return [value for value in (headers or {}).values() if len(value) >= MIN_SECRET]


class Secrets(tuple[str, ...]):
    """Texts that no debugger or traceback shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secrets(…)"


def _proxy_credentials() -> Iterator[str]:
    """The passwords of the proxies that the environment names, or the users without one, also as they are sent."""
    for address in getproxies().values():
        found = re.search("//([^/@]*):([^/@]*)@", address)  # not urlsplit, which refuses what a user may have mistyped
        if found is not None and any(found.groups()):
            user, password = map(unquote, found.groups())
            yield password or user
            yield b64encode(f"{user}:{password}".encode()).decode()


def normalize_base_url(url: str) -> str:
    """Bring an address into the form `scheme://host[:port]/path`, without a slash at the end.

    A missing scheme is https (http for this machine), a missing path `/api/v2`; the endpoint's own name at the end is
    dropped.

    Raises:
        ValueError: it is not the address of a server, or it holds a password or a query.
    """
    url = url.strip()
    if "://" not in url:
        url = f"{'http' if _is_loopback(urlsplit('//' + url).hostname) else 'https'}://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        raise ValueError("it must be an address like https://host:port/api/v2")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("it must hold no user, password, query or fragment")
    _ = parts.port  # raises ValueError if it is not a number
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise ValueError("its host is not a name that can be looked up") from None
    if parts.scheme == "http" and not _is_loopback(parts.hostname) and parts.netloc not in _warned_hosts:
        _warned_hosts.add(parts.netloc)
        message = f"{parts.netloc} is called over http://: the key and the prompts go unencrypted"
        warnings.warn(message, stacklevel=2)
    path = re.sub(_ENDPOINT, "", parts.path.rstrip("/")) or DEFAULT_PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:  # a name
        return False
