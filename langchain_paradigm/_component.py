"""What every class for LangChain has, whatever it does: access, a rate limiter, secrets, serialisation."""

from __future__ import annotations

from typing import ClassVar

from langchain_core.load.serializable import Serializable
from langchain_core.rate_limiters import BaseRateLimiter
from pydantic import Field

from paradigm_transport.access import Connected, RateLimitHooks


class LangChainComponent(Connected, Serializable):
    """A class for LangChain that reaches the server."""

    rate_limiter: BaseRateLimiter | None = Field(
        default=None, exclude=True, description="Acquired once before each HTTP request, retries included."
    )

    _process_bound: ClassVar[tuple[str, ...]] = ("rate_limiter",)

    @property
    def _rate_limit_hooks(self) -> RateLimitHooks | None:
        return RateLimitHooks(self.rate_limiter.acquire, self.rate_limiter.aacquire) if self.rate_limiter else None

    def _acquire(self) -> None:
        if self.rate_limiter is not None:
            self.rate_limiter.acquire()

    async def _aacquire(self) -> None:
        if self.rate_limiter is not None:
            await self.rate_limiter.aacquire()

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """`dumps` and `loads` work; the key stays out and comes from the secrets again."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The arguments that `dumps` leaves out, and the secrets that `loads` puts in their place."""
        return {"api_key": "PARADIGM_API_KEY"}

    @property
    def lc_attributes(self) -> dict[str, object]:
        """The arguments that `dumps` writes in another form than they have here."""
        return {"timeout": self.timeout} if isinstance(self.timeout, (int, float)) else {}
