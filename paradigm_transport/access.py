"""Access of a framework's model to the server: settings to clients, rate-limit hooks, closing, copying, pickling.

A model holds an `Access`. It makes the clients for the model's settings, and knows nothing of a request.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Awaitable, Callable, Mapping
from operator import itemgetter
from threading import Lock
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, PrivateAttr, SecretStr
from typing_extensions import Self

from paradigm_transport.client import AsyncParadigmClient, ParadigmClient
from paradigm_transport.http.pacing import Pace
from paradigm_transport.http.settings import ConnectionFields, Settings

logger = logging.getLogger("paradigm_transport")

_SETTINGS = tuple(Settings.model_fields)
_of_settings = itemgetter(*_SETTINGS)
_INJECTED = ("http_client", "http_async_client")
_making = Lock()


def _renew_lock() -> None:
    global _making
    _making = Lock()


if hasattr(os, "register_at_fork"):  # a fork may happen while another thread holds the lock
    os.register_at_fork(after_in_child=_renew_lock)


class RateLimitHooks(NamedTuple):
    """The two methods of a framework's rate limiter, which are awaited before each retry."""

    acquire: Callable[[], object]
    aacquire: Callable[[], Awaitable[object]]


class Access:
    """The two clients for one set of settings, which share a pace; copies of a model share it.

    Args:
        fields: the settings.
        hooks: what a retry waits for, if anything.

    Attributes:
        made_for: the values of the settings, and the hooks.
    """

    def __init__(self, fields: ConnectionFields, hooks: RateLimitHooks | None = None) -> None:
        self.made_for = _values(fields, hooks)
        # The key and the address may come from the environment, which a worker need not share.
        chosen = {*fields._chosen, "api_key", "base_url"}
        settings = Settings(**{name: getattr(fields, name) for name in _SETTINGS if name in chosen})
        pace = Pace(settings.host)
        self.client = ParadigmClient(settings, before_retry=hooks and hooks.acquire, pace=pace)
        self.async_client = AsyncParadigmClient(settings, before_retry=hooks and hooks.aacquire, pace=pace)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _values(fields: ConnectionFields, hooks: RateLimitHooks | None) -> tuple[object, ...]:
    headers = fields.default_headers
    return *_of_settings(vars(fields)), headers and dict(headers), hooks  # a copy, for they may change


class Connected(ConnectionFields):
    """A model that reaches the server: it gives out its clients, and takes care of them when it is closed or copied."""

    _process_bound: ClassVar[tuple[str, ...]] = ()
    """Fields of the framework whose values may hold locks: shared by copies, left out of pickles if they must be."""

    _access: Access | None = PrivateAttr(default=None)

    @property
    def client(self) -> ParadigmClient:
        """The sync client; copies of this object share it."""
        return self._current_access().client

    @property
    def async_client(self) -> AsyncParadigmClient:
        """The async client; copies of this object share it."""
        return self._current_access().async_client

    @property
    def _rate_limit_hooks(self) -> RateLimitHooks | None:
        return None

    def _current_access(self) -> Access:
        hooks = self._rate_limit_hooks
        values = _values(self, hooks)  # which an assignment or a copy may have changed
        # `self._access` takes 18 times as long, and this runs for every call.
        access: Access | None = (self.__pydantic_private__ or {}).get("_access")
        if access is None or access.made_for != values:
            with _making:  # so that two threads do not make two pairs of clients
                access = self._access
                if access is None or access.made_for != values:
                    access = self._access = Access(self, hooks)
        return access

    def close(self) -> None:
        """End the sync calls in progress and close their connections; as `ParadigmClient.close`."""
        self.client.close()

    async def aclose(self) -> None:
        """End the calls and close the connections of the running event loop, and the sync ones; as `close`."""
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

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, SecretStr(value) if name == "api_key" and isinstance(value, str) else value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy.

        Args:
            update: arguments of the copy, by the names that the constructor takes.
            deep: copy the values, too; clients are shared.

        Raises:
            InvalidParameterError: a name in `update` is unknown.
        """
        copied = super().model_copy(deep=deep)
        for name, value in self._named(update or {}).items():
            setattr(copied, name, value)
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # An injected client or a rate limiter is shared: it cannot be copied, nor would a user want two.
        memo = {} if memo is None else memo
        shared = [getattr(self, name, None) for name in (*_INJECTED, *self._process_bound)]
        memo.update({id(each): each for each in shared if each is not None})
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        for name in _INJECTED:
            if getattr(self, name) is not None:
                raise TypeError(f"an object with {name} cannot be pickled: build it in the worker, or leave that out")
        # BaseModel's: LlamaIndex's removes whatever cannot be pickled from this very object.
        state = BaseModel.__getstate__(self)
        fields = dict(state["__dict__"])
        for name in self._process_bound:
            try:
                pickle.dumps(fields.get(name))
            except Exception:  # noqa: BLE001  # what is raised is up to the value
                logger.warning("%s cannot be pickled: in another process this object goes without it.", name)
                fields[name] = type(self).model_fields[name].get_default(call_default_factory=True)
        private = {**(state["__pydantic_private__"] or {}), "_access": None}
        return {**state, "__dict__": fields, "__pydantic_private__": private}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        type(self).model_rebuild()  # nothing has built it in this process, and pydantic 2.9 writes only what is built
        BaseModel.__setstate__(self, state)  # LlamaIndex's would count every field as given
