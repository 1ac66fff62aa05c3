"""What the `ParadigmLLM` classes of all frameworks are, before the framework: fields, parameters, clients."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator
from typing_extensions import Self

from paradigm_transport.chat.templates.named import Template, find_template
from paradigm_transport.client import AsyncParadigmClient, ParadigmClient
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.http.settings import Settings

logger = logging.getLogger("paradigm_transport")

_SETTINGS = tuple(Settings.model_fields)
_BORROWED = ("http_client", "http_async_client")
_OF_THIS_PROCESS = ("rate_limiter", "callback_manager")  # where the framework has them; they may hold locks

Gates = tuple[Callable[[], object], Callable[[], Awaitable[object]]]
"""What waits for leave to send, sync and async."""


class ParadigmModel(CompletionParameters, Settings):
    """The endpoint's fields and the settings, with the clients that they lead to.

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    chat_template: str | Template | None = Field(
        default=None,
        description="How prompts and messages are written for the model: `alfred`, `chatml`, a ChatTemplate, a text in "
        "Jinja or a JinjaTemplate, or None.",
    )

    argument_aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of arguments, as the framework's users know them."""

    _clients: tuple[tuple[Any, ...], ParadigmClient, AsyncParadigmClient] | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # type checkers read the signature off the fields

        def __init__(self, **fields: Any) -> None:
            for alias, name in self.argument_aliases.items():
                if alias in fields:
                    if name in fields:
                        raise InvalidParameterError(f"{alias} is another name of {name}: give one of them")
                    fields[name] = fields.pop(alias)
            super().__init__(**fields)

    @field_validator("chat_template")
    @classmethod
    def _check_template(cls, template: str | Template | None) -> str | Template | None:
        find_template(template)
        return template

    @property
    def template(self) -> Template | None:
        """The chat template, where one is set."""
        return find_template(self.chat_template)

    def parameters(
        self, stop: list[str] | None, overrides: Mapping[str, Any], *, stream: bool = False
    ) -> CompletionParameters:
        """The endpoint's fields for one call: the constructor's, with the call's over them.

        Args:
            stop: the call's stop sequences; None for the constructor's.
            overrides: the call's fields.
            stream: the call is for a stream, which is one text.

        Raises:
            InvalidParameterError: a field is unknown, of a wrong type or out of its range.
        """
        if stop is not None:
            overrides = {**overrides, "stop": stop}
        parameters = self.merged(overrides)
        if stream and (parameters.n or 1) > 1:
            raise InvalidParameterError("n must be 1 while streaming, for a stream is one text: do not stream")
        template = self.template
        if template is not None and template.stop:  # first, for it must be among those that the server is told
            parameters.stop = list(dict.fromkeys([template.stop, *(parameters.stop or ())]))
        return parameters

    @property
    def client(self) -> ParadigmClient:
        """The sync client; copies of this object share it."""
        return self._current_clients()[1]

    @property
    def async_client(self) -> AsyncParadigmClient:
        """The async client; copies of this object share it."""
        return self._current_clients()[2]

    @property
    def _gates(self) -> Gates | None:
        """What a request waits for before it goes out: a rate limiter's two methods, where there is one.

        The framework's class passes them before a call; the clients, before each retry.
        """
        return None

    def _current_clients(self) -> tuple[tuple[Any, ...], ParadigmClient, AsyncParadigmClient]:
        gates = self._gates
        values = (*[getattr(self, name) for name in _SETTINGS], gates)
        clients = self._clients
        if clients is None or clients[0] != values:  # also where a copy, or an assignment, changed a setting
            # The key and the address may come from the environment, which a worker need not share.
            chosen = {*self.model_fields_set, "api_key", "base_url"}
            settings = Settings(**{name: getattr(self, name) for name in _SETTINGS if name in chosen})
            clients = self._clients = (values, *_make_clients(settings, gates))
        return clients

    def close(self) -> None:
        """Close the sync connections. A later call opens new ones."""
        self.client.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and the sync ones. A later call opens new ones."""
        self.client.close()
        await self.async_client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # A client that was passed in, or a rate limiter, is shared: it cannot be copied, nor would a user want two.
        memo = {} if memo is None else memo
        shared = [getattr(self, name, None) for name in (*_BORROWED, *_OF_THIS_PROCESS)]
        memo.update({id(each): each for each in shared if each is not None})
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        for name in _BORROWED:
            if getattr(self, name) is not None:
                raise TypeError(f"an object with {name} cannot be pickled: build it in the worker, or leave that out")
        # Not LlamaIndex's own, which takes whatever cannot be pickled out of this very object.
        state = BaseModel.__getstate__(self)
        fields = dict(state["__dict__"])
        for name in _OF_THIS_PROCESS:
            if not _can_be_pickled(fields.get(name)):
                logger.warning("%s cannot be pickled: in another process this object goes without it.", name)
                fields[name] = type(self).model_fields[name].get_default(call_default_factory=True)
        private = {**(state["__pydantic_private__"] or {}), "_clients": None}
        return {**state, "__dict__": fields, "__pydantic_private__": private}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        BaseModel.__setstate__(self, state)  # LlamaIndex's own would count every field as given


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  # what is raised is up to the value
        return False
    return True


def _make_clients(settings: Settings, gates: Gates | None) -> tuple[ParadigmClient, AsyncParadigmClient]:
    if gates is None:
        return ParadigmClient(settings), AsyncParadigmClient(settings)
    acquire, aacquire = gates

    def pause(seconds: float) -> None:
        time.sleep(seconds)
        acquire()

    async def apause(seconds: float) -> None:
        await asyncio.sleep(seconds)
        await aacquire()

    return ParadigmClient(settings, sleep=pause), AsyncParadigmClient(settings, sleep=apause)
