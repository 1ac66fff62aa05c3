"""The server that is asked: requests within the time there is, and what several questions want to know."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from math import inf

from paradigm_transport.check.findings import UnclearError
from paradigm_transport.check.probes import ProbeCall, ProbeStream, Reply, Target, timed
from paradigm_transport.check.prompts import COUNT, STORY, Prompt
from paradigm_transport.check.redaction import Words
from paradigm_transport.check.routes import CHAT, COMPLETIONS, Generated, Route, read_generated
from paradigm_transport.client import ParadigmClient
from paradigm_transport.endpoints.models import Model, ModelsCall
from paradigm_transport.errors import APIResponseError, APIStatusError, ParadigmError
from paradigm_transport.http.timeouts import CONNECT_SECONDS, Timeout

SAMPLE_TOKENS = 24
"""The length of texts that are compared: two samples of this length are hardly ever equal."""

HOT, WARM = 1.5, 1.0
"""A temperature at which samples differ, also on servers that leave all but a few tokens out; one that all accept."""

_LIMIT_HEADERS = ("x-ratelimit", "ratelimit", "retry-after")


class Server:
    """A server, and the model that it is asked about.

    Args:
        client: reaches it; without retries, except of rate limits.
        model: the model that generates text.
        embedding_model: the model that embeds; None to look for one.
        timer: returns seconds that only grow.

    Attributes:
        ends: when the question that is being asked must end, by the timer.
        limits: headers of responses that announce rate limits.
        words: cleans what it says.
    """

    def __init__(
        self,
        client: ParadigmClient,
        model: str,
        embedding_model: str | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.model = model
        self.embedding_model = embedding_model
        self.timer = timer
        self.ends = inf
        self.limits: dict[str, str] = {}
        self.words = Words(client.settings)
        self._openings: dict[str, Generated | ParadigmError] = {}
        self._greedy: dict[tuple[str, str, int], str] = {}
        self._greedy_fields: dict[str, dict[str, object]] = {}

    # Requests

    @property
    def timeout(self) -> Timeout:
        """The time that is left.

        Raises:
            UnclearError: no time is left.
        """
        left = self.ends - self.timer()
        if left <= 0:
            raise UnclearError("no time was left")
        return Timeout(left, min(left, CONNECT_SECONDS), left, left)

    def send(self, target: Target, fields: Mapping[str, object] | None, client: ParadigmClient | None = None) -> Reply:
        """Send a request.

        Args:
            target: where to.
            fields: the body; None for none.
            client: in place of the server's.

        Raises:
            ParadigmError: as `ParadigmClient.send`.
            UnclearError: no time is left.
        """
        reply = (client or self.client).send(ProbeCall(target, fields, self.timeout))
        self._note(reply)
        return reply

    def stream(self, route: Route, prompt: Prompt | str, **fields: object) -> Reply:
        """Stream what is generated for a prompt; as `generate`."""
        call = ProbeStream(route.target, {**self._body(route, prompt, fields), "stream": True}, self.timeout)
        with self.client.open(call) as events:
            call.reply.events = timed(events, self.timer)
        self._note(call.reply)
        return call.reply

    def generate(self, prompt: Prompt | str, route: Route | None = None, **fields: object) -> Generated:
        """Generate text, greedily and little of it unless fields say otherwise.

        Args:
            prompt: what for.
            route: the endpoint; by default the one that works, completions first.
            fields: of the request; None leaves one out.

        Raises:
            APIResponseError: the reply holds no text.
            ParadigmError: as `send`.
            UnclearError: no endpoint works, or no time is left.
        """
        route = route or self.route
        reply = self.send(route.target, self._body(route, prompt, fields))
        generated = read_generated(reply.body, route)
        if generated is None:
            raise APIResponseError("The reply holds no text.", body=None)
        return generated

    def _body(self, route: Route, prompt: Prompt | str, fields: Mapping[str, object]) -> dict[str, object]:
        given = {"max_tokens": SAMPLE_TOKENS, **self.greedy_fields(route), **fields}
        own = {"model": self.model, **route.text_fields(prompt)}
        return {**own, **{name: value for name, value in given.items() if value is not None}}

    def _note(self, reply: Reply) -> None:
        found = {name: value for name, value in reply.headers.items() if name.startswith(_LIMIT_HEADERS)}
        self.limits.update(found)

    # What several questions want to know

    @cached_property
    def listed(self) -> list[Model] | ParadigmError:
        """The models that the server lists, or why it does not."""
        call = ModelsCall()
        call.timeout = self.timeout
        try:
            return self.client.send(call)
        except ParadigmError as error:
            return error

    @property
    def entry(self) -> Model | None:
        """The model in the list; None if it is not there."""
        models = self.listed if isinstance(self.listed, list) else []
        return next((each for each in models if each.id == self.model), None)

    def opening(self, route: Route) -> Generated:
        """Return the first, plainest answer of an endpoint.

        Raises:
            ParadigmError: it did not work, the same each time.
        """
        found = self._openings.get(route.name)
        if found is None:
            try:
                body = {"model": self.model, **route.text_fields(COUNT), "max_tokens": 8}
                found = read_generated(self.send(route.target, body).body, route)
                found = found or APIResponseError("The reply holds no text.")
            except ParadigmError as error:
                found = error
            self._openings[route.name] = found
        if isinstance(found, ParadigmError):
            raise found.bare()
        return found

    def works(self, route: Route) -> bool:
        """Whether an endpoint answers."""
        try:
            self.opening(route)
        except ParadigmError:
            return False
        return True

    @property
    def route(self) -> Route:
        """The endpoint that fields are tried on.

        Raises:
            UnclearError: no endpoint answers.
        """
        for route in (COMPLETIONS, CHAT):
            if self.works(route):
                return route
        raise UnclearError("neither completions nor chat works")

    def greedy_fields(self, route: Route) -> dict[str, object]:
        """Return the fields that make the model choose the likeliest token, as far as the endpoint takes them.

        Raises:
            UnclearError: the endpoint does not work.
        """
        self.require(route)
        if route.name not in self._greedy_fields:
            fields: dict[str, object] = {"temperature": 0}
            try:
                self.send(route.target, {"model": self.model, **route.text_fields(COUNT), "max_tokens": 1, **fields})
            except APIStatusError:  # some models have one temperature
                fields = {}
            self._greedy_fields[route.name] = fields
        return self._greedy_fields[route.name]

    def require(self, route: Route) -> None:
        """Check that an endpoint works.

        Raises:
            UnclearError: it does not.
        """
        if not self.works(route):
            raise UnclearError(f"{route.name} do not work" if route is COMPLETIONS else f"{route.name} does not work")

    def greedy(self, prompt: Prompt, max_tokens: int = SAMPLE_TOKENS) -> str:
        """Return the likeliest text for a prompt.

        Raises:
            UnclearError: the model wrote nothing, or it failed.
        """
        route = self.route
        place = (route.name, prompt.text, max_tokens)
        if place not in self._greedy:
            try:
                self._greedy[place] = self.generate(prompt, route, max_tokens=max_tokens).text
            except ParadigmError:
                raise UnclearError("the plain request to compare with failed") from None
        if not self._greedy[place]:
            raise UnclearError("the model wrote nothing to compare with")
        return self._greedy[place]

    @cached_property
    def hot(self) -> float:
        """The highest temperature to sample at that the server accepts."""
        try:
            self.generate(STORY, temperature=HOT, max_tokens=1)
        except APIStatusError:
            return WARM
        return HOT

    @cached_property
    def samples(self) -> tuple[str, str]:
        """Two texts at a high temperature.

        Raises:
            ParadigmError: the temperature was refused.
        """
        first, second = (self.generate(STORY, temperature=self.hot).text for _ in range(2))
        return first, second

    @property
    def varies(self) -> bool:
        """Whether samples differ at a high temperature.

        Raises:
            UnclearError: that cannot be found out.
        """
        try:
            first, second = self.samples
        except ParadigmError:
            raise UnclearError("a high temperature is refused, so there is nothing to compare with") from None
        return first != second
