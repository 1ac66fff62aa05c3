"""Key, base URL, time-outs: how to reach the server. The only place that reads the environment."""

from __future__ import annotations

import os
import warnings
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from paradigm_transport.endpoints.completions.fields import construct_clearly
from paradigm_transport.http.key import Key

KEY_VARIABLES = ("PARADIGM_API_KEY", "LIGHTON_API_KEY")
BASE_URL_VARIABLE = "PARADIGM_BASE_URL"
DEFAULT_BASE_URL = "https://paradigm.lighton.ai/api/v2"
DEFAULT_PATH = "/api/v2"
DEFAULT_TIMEOUT = 120.0
CONNECT_TIMEOUT = 5.0

_warned_hosts: set[str] = set()


class Settings(BaseModel):
    """How to reach the server.

    Raises:
        InvalidParameterError: a value is missing, of a wrong type or out of its range.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_default=True, protected_namespaces=())

    api_key: Key = Field(
        default=None,  # type: ignore[assignment]  # the validator puts the environment's in its place
        exclude=True,
        description="The key; PARADIGM_API_KEY, then LIGHTON_API_KEY, where it is not given.",
    )
    base_url: str = Field(
        default=None,  # type: ignore[assignment]  # likewise
        description="The server's address; PARADIGM_BASE_URL where it is not given. A bare host gets /api/v2.",
    )
    timeout: Any = Field(
        default=DEFAULT_TIMEOUT,
        exclude=True,
        description=(
            "The most seconds to wait for the next bytes (connecting: 5 at most); an httpx.Timeout sets each; "
            "None waits for ever."
        ),
    )
    max_retries: int = Field(
        default=2, ge=0, description="How often a request that failed in passing is sent again, 0 or more."
    )
    max_concurrency: int = Field(
        default=32, ge=1, description="The most requests in flight at once where many are sent, 1 or more."
    )
    stream_usage: bool = Field(default=True, description="Ask for usage at the end of a stream.")
    default_headers: dict[str, str] | None = Field(
        default=None, exclude=True, repr=False, description="Further headers of every request."
    )
    verify: Any = Field(
        default=True,
        exclude=True,
        description="TLS: True, False, the path of a CA file or folder, or an ssl.SSLContext.",
    )
    cert: str | tuple[str, str] | None = Field(
        default=None,
        exclude=True,
        description="TLS: the path of a client certificate, or of it and its key.",
    )
    http_client: Any = Field(
        default=None,
        exclude=True,
        repr=False,
        description="An httpx.Client to use as it is; never closed.",
    )
    http_async_client: Any = Field(
        default=None,
        exclude=True,
        repr=False,
        description="An httpx.AsyncClient to use as it is; never closed.",
    )

    if not TYPE_CHECKING:  # pragma: no branch  # type checkers read the signature off the fields

        def __init__(self, **fields: Any) -> None:
            construct_clearly(type(self), super().__init__, fields)

    @field_validator("api_key", mode="before")
    @classmethod
    def _find_key(cls, given: Any) -> Any:
        if given is None:
            given = next(filter(None, (os.environ.get(name, "").strip() for name in KEY_VARIABLES)), None)
        if given is None:
            raise ValueError(f"it is missing: pass api_key or set {KEY_VARIABLES[0]}")
        key = given.get_secret_value() if isinstance(given, SecretStr) else given
        if not isinstance(key, str):
            raise ValueError(f"it must be a string, not {type(key).__name__}")
        key = key.strip()
        if not key:
            raise ValueError(f"it is empty: pass api_key or set {KEY_VARIABLES[0]}")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("it holds characters that no key has; was something else copied along?")
        return SecretStr(key)

    @field_validator("base_url", mode="before")
    @classmethod
    def _find_base_url(cls, given: Any) -> Any:
        url = given if given is not None else os.environ.get(BASE_URL_VARIABLE, "").strip() or DEFAULT_BASE_URL
        return normalize_base_url(url) if isinstance(url, str) else url

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, timeout: Any) -> Any:
        if isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
            if not 0 < timeout < float("inf"):
                raise ValueError("it must be more than 0 seconds")
        elif timeout is not None and not hasattr(timeout, "connect"):
            raise ValueError("it must be a number of seconds, an httpx.Timeout or None")
        return timeout

    @field_validator("default_headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str] | None) -> dict[str, str] | None:
        for name, value in (headers or {}).items():
            if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
                raise ValueError(f"{name!a} holds characters that no header may have")
        return headers

    @field_validator("http_client", "http_async_client")
    @classmethod
    def _check_client(cls, client: Any, info: ValidationInfo) -> Any:
        # By what it can do, for it may be of another library than httpx.
        close = "close" if info.field_name == "http_client" else "aclose"
        if client is not None and not all(hasattr(client, name) for name in ("build_request", "send", close)):
            kind = "httpx.Client" if close == "close" else "httpx.AsyncClient"
            raise ValueError(f"it must be an {kind} or like one, not {type(client).__name__}")
        return client

    @property
    def host(self) -> str:
        """The host that is called, with its port where it has one; for messages."""
        return urlsplit(self.base_url).netloc


def normalize_base_url(url: str) -> str:
    """Bring an address into the form `scheme://host[:port]/path`, without a slash at the end.

    A missing scheme is https (http for this machine), a missing path `/api/v2`; the endpoint's own name at
    the end is dropped.

    Raises:
        ValueError: it is no address of a server, or it holds a password or a query.
    """
    url = url.strip()
    if "://" not in url:
        url = f"{'http' if _is_loopback(urlsplit('//' + url).hostname) else 'https'}://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        raise ValueError("it must be an address like https://host:port/api/v2")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("it must hold no user, password, query or fragment")
    _ = parts.port  # raises ValueError where it is no number
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise ValueError("its host is no name that can be looked up") from None
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        _warn_of_plain_http(parts.netloc)
    path = parts.path.rstrip("/").removesuffix("/completions") or DEFAULT_PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:  # a name
        return False


def _warn_of_plain_http(host: str) -> None:
    if host not in _warned_hosts:
        _warned_hosts.add(host)
        warnings.warn(f"{host} is called over http://: the key and the prompts go unencrypted", stacklevel=2)
