"""The endpoint conforms to its OpenAPI document: schemathesis sends valid and invalid requests."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
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

from paradigm_local import LocalParadigm, openapi
from paradigm_local.model import CACHE_VARIABLE
from paradigm_local.search.contract import SEARCH_PATH
from tests.local.conftest import Caller
from tests.local.fake import FakeEngine, Served

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

schema = schemathesis.openapi.from_dict(openapi.document("smollm2-135m-instruct", "multilingual-e5-small"))


def limit_tokens(body: object) -> None:
    """Make long completions short, to save time; keep an invalid `max_tokens`."""
    limit = body.get("max_tokens", 16) if isinstance(body, dict) else None
    if isinstance(limit, int | float) and not isinstance(limit, bool) and 0 <= limit < 2**31 and limit == int(limit):
        body["max_tokens"] = min(limit, 2)  # type: ignore[index]


sending = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@sending
def test_every_response_conforms_to_the_openapi_document(case: schemathesis.Case, small_context: Caller) -> None:
    limit_tokens(case.body)
    headers = {"Authorization": f"Bearer {small_context.paradigm.api_key}"}
    base_url = small_context.paradigm.base_url.removesuffix("/api/v2")
    case.call_and_validate(base_url=base_url, headers=headers, checks=CHECKS, timeout=60)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalParadigm]:
    """A server with a document."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "leave.md").write_text("# Leave\n\nHolidays are booked in the portal.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        with Served(FakeEngine(), documents=folder, grace_seconds=0) as paradigm:
            yield paradigm


@schema.include(path=SEARCH_PATH).parametrize()
@sending
def test_every_response_of_a_server_with_documents_conforms(case: schemathesis.Case, searched: LocalParadigm) -> None:
    headers = {"X-Api-Key": searched.api_key}
    base_url = searched.base_url.removesuffix("/api/v2")
    # The key may come in either of two headers, and that check spoils only the other one.
    checks = [check for check in CHECKS if check is not ignored_auth]
    case.call_and_validate(base_url=base_url, headers=headers, checks=checks, timeout=60)
