"""The environment: frameworks that send telemetry, or fetch data when they are imported, are asked not to."""

from __future__ import annotations

import pytest

SILENT = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
}


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SILENT.items():
        monkeypatch.setenv(name, value)
