"""The endpoint against its own description: schemathesis sends what the document allows, and what it does not."""

from __future__ import annotations

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from paradigm_local import openapi
from tests.local.conftest import Caller

EXAMPLES = 40
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]

schema = schemathesis.openapi.from_dict(openapi.document("smollm2-135m-instruct"))


def spare_time(body: object) -> None:
    """Where a completion may be long, ask for a short one; a wrong `max_tokens` stays wrong."""
    asked = body.get("max_tokens", 16) if isinstance(body, dict) else None
    if isinstance(asked, int | float) and not isinstance(asked, bool) and 0 <= asked < 2**31 and asked == int(asked):
        body["max_tokens"] = min(asked, 2)  # type: ignore[index]


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: schemathesis.Case, small_context: Caller) -> None:
    spare_time(case.body)
    headers = {"Authorization": f"Bearer {small_context.paradigm.api_key}"}
    base_url = small_context.paradigm.base_url.removesuffix("/api/v2")
    case.call_and_validate(base_url=base_url, headers=headers, checks=CHECKS, timeout=60)
