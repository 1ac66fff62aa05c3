"""Settings: sources of the key and the base URL, normalization, invalid values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from paradigm_transport import InvalidParameterError, Settings
from paradigm_transport.http.settings import normalize_base_url
from tests.transport.conftest import KEY


def key_of(**fields: Any) -> str:
    return Settings(base_url="https://host", **fields).api_key.get_secret_value()


def test_key_defaults_to_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTON_API_KEY", " second \n")
    assert key_of() == "second"
    monkeypatch.setenv("PARADIGM_API_KEY", "  ")
    assert key_of() == "second"
    monkeypatch.setenv("PARADIGM_API_KEY", "first\n")
    assert key_of() == "first"
    assert key_of(api_key=None) == "first"
    assert key_of(api_key=f" {KEY}") == KEY
    assert key_of(api_key=SecretStr(f"{KEY}\n")) == KEY


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, r"^api_key: it is missing: pass api_key or set PARADIGM_API_KEY"),
        ("", r"^api_key: it is empty: pass api_key or set PARADIGM_API_KEY"),
        (" \n", "api_key: it is empty"),
        (SecretStr(""), "api_key: it is empty"),
        ("two words", "api_key: .*characters that no key has"),
        ("two\nlines", "api_key: .*characters that no key has"),
        ("clé", "api_key: .*characters that no key has"),
        (5, "api_key: it must be a string, not int"),
        (b"bytes", "api_key: it must be a string, not bytes"),
    ],
)
def test_missing_or_malformed_key_raises(key: Any, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        key_of(api_key=key)


def test_empty_key_is_not_replaced_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", "another")
    with pytest.raises(InvalidParameterError, match="api_key: it is empty"):
        key_of(api_key="")


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://host/api/v2", "https://host/api/v2"),
        ("https://host", "https://host/api/v2"),
        ("https://host/", "https://host/api/v2"),
        (" https://host/api/v2/\n", "https://host/api/v2"),
        ("https://host/api/v2/completions", "https://host/api/v2"),
        ("https://host/api/v2/chat/completions", "https://host/api/v2"),
        ("https://host/api/v3/search/", "https://host/api/v3"),
        ("https://host/api/v2/completions/", "https://host/api/v2"),
        ("https://host/completions", "https://host/api/v2"),
        ("https://host:30443/api/v2", "https://host:30443/api/v2"),
        ("https://host/other/v3", "https://host/other/v3"),
        ("HTTPS://host", "https://host/api/v2"),
        ("host", "https://host/api/v2"),
        ("host:30443", "https://host:30443/api/v2"),
        ("host/api/v2", "https://host/api/v2"),
        ("localhost:8000", "http://localhost:8000/api/v2"),
        ("127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("[::1]:8000", "http://[::1]:8000/api/v2"),
        ("https://hôte.example", "https://hôte.example/api/v2"),
    ],
)
def test_base_url_is_normalized(url: str, normal: str) -> None:
    assert normalize_base_url(url) == normal
    assert normalize_base_url(normal) == normal
    httpx.URL(normal)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "ftp://host",
        "https:///api",
        "https://host:port",
        "https://host:99999",
        "https://ho st",
        "https://[::1",
        "https://user@host",
        "https://user:password@host",
        "https://host?key=1",
        "https://host#part",
        f"https://{'a' * 64}.example",
        "https://a..b",
        5,
    ],
)
def test_invalid_base_url_raises(url: Any) -> None:
    with pytest.raises(InvalidParameterError, match="base_url"):
        Settings(api_key=KEY, base_url=url)


@given(st.text(max_size=20) | st.text("ah:/.@?#[]1% \\\n", max_size=20))
def test_any_base_url_is_normalized_or_raises_value_error(url: str) -> None:
    try:
        normal = normalize_base_url("https://" + url)
    except ValueError:
        return
    try:
        httpx.URL(normal)
    except httpx.InvalidURL:  # a request to such a host raises APIConnectionError
        return
    assert normal.startswith("https://")


def test_base_url_defaults_to_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(api_key=KEY).base_url == "https://paradigm.lighton.ai/api/v2"
    monkeypatch.setenv("PARADIGM_BASE_URL", "  ")
    assert Settings(api_key=KEY).base_url == "https://paradigm.lighton.ai/api/v2"
    monkeypatch.setenv("PARADIGM_BASE_URL", "private.example:30443\n")
    assert Settings(api_key=KEY).base_url == "https://private.example:30443/api/v2"
    assert Settings(api_key=KEY).host == "private.example:30443"
    assert Settings(api_key=KEY, base_url="https://mine").host == "mine"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_retries": -1}, "max_retries"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"default_headers": {"X-Naïve": "1"}}, "default_headers"),
        ({"default_headers": {"X-Team": "a\r\nX-Other: b"}}, "default_headers"),
        ({"default_headers": {"X-Team": 5}}, "default_headers"),
        ({"default_headers": {"X-Team": "blue "}}, "default_headers"),
        ({"default_headers": {"X-Team": " blue"}}, "default_headers"),
        ({"default_headers": {"X Team": "blue"}}, "default_headers"),
        ({"default_headers": {"X:Team": "blue"}}, "default_headers"),
        ({"default_headers": {"": "blue"}}, "default_headers"),
        ({"cert": 5}, "cert"),
        ({"api_kay": "a"}, "api_kay"),
    ],
)
def test_invalid_settings_raise(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Settings(api_key=KEY, **fields)


def test_verify_accepts_path_object(tmp_path: Path) -> None:
    assert Settings(api_key=KEY, verify=tmp_path).verify == tmp_path
