"""`chat_template="server"`: the template that the model list holds."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from paradigm_transport import InvalidParameterError, JinjaTemplate, NotFoundError
from paradigm_transport.access import Connected
from paradigm_transport.chat.fields import ChatFields
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.server_templates import ServerTemplates
from paradigm_transport.chat.template_fields import TemplateFields
from paradigm_transport.chat.templates import AnyTemplate
from paradigm_transport.endpoints.completions.fields import CompletionFields
from tests.wire import WireServer, reply

SOURCE = "{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}"


class Model(ChatFields, CompletionFields, Connected):
    """A chat model without a framework."""


Find = Callable[[ServerTemplates, Model], AnyTemplate]


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest) -> Find:
    """Looks a model's template up."""

    def afind(templates: ServerTemplates, model: Model) -> AnyTemplate:
        async def run() -> AnyTemplate:
            async with model:
                return await templates.afind(model.chat_template, model.model, model)

        return asyncio.run(run())

    def find(templates: ServerTemplates, model: Model) -> AnyTemplate:
        with model:
            return templates.find(model.chat_template, model.model, model)

    return find if request.param == "sync" else afind


def model(wire: WireServer, template: AnyTemplate = "server", **fields: Any) -> Model:
    return Model(**{"model": "m", "api_key": "key", "base_url": wire.url, "chat_template": template, **fields})


@pytest.mark.parametrize(
    "entry",
    [
        {"chat_template": SOURCE, "prompt_template": "{{ question }}"},
        {"prompt_template": "Answer: {question}", "start_messages_template": SOURCE},
        {"chat_template": "{% if %}", "prompt_template": SOURCE},
        {
            "prompt_template": "{{ raise_exception('No.') }}",
            "start_messages_template": [{"name": "default", "template": SOURCE}],
        },
        {"chat_template": "{{ messages[-1].content }}", "prompt_template": {"default": SOURCE}},
        {"chat_template": [{"name": [], "template": "{{ 1 }}"}, {"name": "default", "template": SOURCE}]},
    ],
)
def test_template_is_found_in_the_model_list(wire: WireServer, find: Find, entry: dict[str, Any]) -> None:
    wire.script(reply({"data": [{"name": "other", "chat_template": "{{ 1 }}"}, {"name": "m", **entry}]}))
    templates, chosen = ServerTemplates(), model(wire)
    assert templates.known("server", "m", chosen) is None
    assert not wire.requests
    assert find(templates, chosen) == JinjaTemplate(source=SOURCE)
    for known in (templates, copy.deepcopy(templates), pickle.loads(pickle.dumps(templates))):
        assert find(known, chosen) == JinjaTemplate(source=SOURCE)
    assert [(request.method, request.path) for request in wire.requests] == [("GET", "/api/v2/models")]
    assert templates.known("server", "m", chosen) == JinjaTemplate(source=SOURCE)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "lists no chat template in Jinja for the model 'm'; pass a name"),
        ([{"name": "other", "chat_template": SOURCE}], "for the model 'm'; pass a name"),
        ([{"name": "m", "prompt_template": "Answer: {question}", "chat_template": None}], "for the model 'm'; pass"),
        (
            [{"name": "m", "prompt_template": "{{ question }}"}],
            "; its prompt_template is not one: chat_template leaves",
        ),
        ([{"name": "m", "chat_template": "{% if %}"}], "; its chat_template is not one: not a valid Jinja template"),
    ],
)
def test_model_list_without_a_template_is_an_error(wire: WireServer, find: Find, entries: list[Any], said: str) -> None:
    wire.always(reply({"data": entries}))
    for _ in range(2):
        with pytest.raises(InvalidParameterError) as raised:
            find(ServerTemplates(), model(wire))
        assert str(raised.value).startswith(f"chat_template='server': {wire.host} lists no chat template")
        assert said in str(raised.value)


def test_server_without_a_model_list_is_an_error(wire: WireServer, find: Find) -> None:
    wire.always(reply({"detail": "Not found."}, 404))
    with pytest.raises(NotFoundError):
        find(ServerTemplates(), model(wire))


def test_other_templates_are_not_looked_up(wire: WireServer, find: Find) -> None:
    for template in ("chatml", JinjaTemplate(source=SOURCE)):
        assert find(ServerTemplates(), model(wire, template)) == template
    assert not wire.requests


def test_template_of_the_server_is_for_models_that_look_it_up(wire: WireServer) -> None:
    assert model(wire, chat_template_kwargs={"mood": "calm"}).chat_template == "server"
    for use in (lambda: TemplateFields(chat_template="server"), lambda: PromptRoute("server")):
        with pytest.raises(InvalidParameterError, match="'server' is for ChatParadigm"):
            use()


def test_template_is_found_in_the_properties_of_llama_cpp(wire: WireServer, find: Find) -> None:
    wire.script(reply({"data": [{"id": "m"}]}), reply({"chat_template": SOURCE, "eos_token": "</s>", "total_slots": 1}))
    found = find(ServerTemplates(), model(wire))
    assert isinstance(found, JinjaTemplate)
    assert (found.source, found.stop) == (SOURCE, "</s>")
    assert [request.path for request in wire.requests] == ["/api/v2/models", "/api/props"]


@pytest.mark.parametrize("answer", [reply({"detail": "Not found"}, 404), reply([1]), reply({"chat_template": 7})])
def test_server_without_a_template_is_named(wire: WireServer, find: Find, answer: Any) -> None:
    wire.script(reply({"data": [{"id": "m"}]}), answer)
    with pytest.raises(InvalidParameterError, match="lists no chat template"):
        find(ServerTemplates(), model(wire, max_retries=0))
