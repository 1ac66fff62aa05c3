"""Chat templates that a server lists: `chat_template="server"`, looked up when a model is first used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from paradigm_transport.access import Connected
from paradigm_transport.chat.templates import SERVER, AnyTemplate, JinjaTemplate
from paradigm_transport.chat.templates.reading import default_source
from paradigm_transport.endpoints.models import Model
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import JsonObject, Message

_FIELDS = ("chat_template", "prompt_template", "start_messages_template")
"""Where entries of the model list may hold a template, the likeliest first."""

_PROBE = [Message("system", "A"), Message("user", "Question 1"), Message("assistant", "Answer 1"), Message("user", "B")]


class ServerTemplates:
    """The chat templates that a model's servers listed; each is asked for once. Copies of a model share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], JinjaTemplate] = {}

    def known(self, template: AnyTemplate | None, model: str, access: Connected) -> AnyTemplate | None:
        """Return a template; None if there is none, or it is the server's and was not looked up. Send no request."""
        return template if template != SERVER else self._known.get((access.base_url, model))

    def find(self, template: AnyTemplate | None, model: str, access: Connected) -> AnyTemplate | None:
        """Return a template; look it up if it is the server's.

        Args:
            template: the template that was chosen; None for none.
            model: the model that it is for.
            access: reaches the server.

        Raises:
            InvalidParameterError: the server lists no template for the model.
            ParadigmError: it sends no model list; see `paradigm_transport.ParadigmClient.models`.
        """
        known = self.known(template, model, access)
        return known if template != SERVER or known else self._add(access.client.models(), model, access)

    async def afind(self, template: AnyTemplate | None, model: str, access: Connected) -> AnyTemplate | None:
        """As `find`."""
        known = self.known(template, model, access)
        return known if template != SERVER or known else self._add(await access.async_client.models(), model, access)

    def _add(self, models: Iterable[Model], model: str, access: Connected) -> JinjaTemplate:
        entry = next((each.raw for each in models if each.id == model), {})
        host, problems = access.client.settings.host, []
        for name, source in _sources_in(entry):
            try:
                template = JinjaTemplate(source=source)
                template.render_chat(_PROBE)
            except InvalidParameterError as problem:
                problems.append(f"; its {name} is not one: {problem}")
            else:
                return self._known.setdefault((access.base_url, model), template)
        raise InvalidParameterError(
            f"chat_template='server': {host} lists no chat template in Jinja for the model {model!r}"
            f"{''.join(problems)}; pass a name, Jinja source or the path of the model's tokenizer_config.json"
        )


def _sources_in(entry: JsonObject) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        source = default_source(entry.get(name))
        if source is not None:
            yield name, source
