"""Replies to chats in the shape of the contract: full messages, and chunks of a stream."""

from collections.abc import Iterable, Sequence

from paradigm_local.chat_contract import (
    ChatChoice,
    ChatCompletion,
    ChatCompletionRequest,
    ChatLogprob,
    ChatLogprobs,
    ChatReply,
    ChatTokenLogprobs,
)
from paradigm_local.contract import JsonObject, Usage
from paradigm_local.generation import Delta
from paradigm_local.replies import Replies
from paradigm_local.scoring import PlacedToken


class ChatReplies(Replies[ChatChoice]):
    """Builds the replies to a request for answers to a chat.

    Args:
        request: the request.
    """

    def __init__(self, request: ChatCompletionRequest) -> None:
        super().__init__("chatcmpl", request.n)
        self._request = request
        self._begun: set[int] = set()

    def _reply(self, choices: list[ChatChoice], usage: Usage | None, *, is_chunk: bool) -> ChatCompletion:
        return ChatCompletion(
            id=self._id,
            object="chat.completion.chunk" if is_chunk else "chat.completion",
            created=self._created,
            model=self._request.model,
            choices=choices,
            usage=usage,
        )

    def _choice(self, index: int, deltas: list[Delta]) -> ChatChoice:
        calls = _whole_calls(call for delta in deltas for call in delta.calls)
        text = "".join(delta.text for delta in deltas)
        thoughts = "".join(delta.thoughts for delta in deltas)
        return ChatChoice(
            index=index,
            message=ChatReply(role="assistant", content=text or (None if calls else ""), **_given(thoughts, calls)),
            logprobs=self._logprobs([placed for delta in deltas for placed in delta.tokens]),
            finish_reason=deltas[-1].finish_reason,
        )

    def _part(self, delta: Delta) -> ChatChoice:
        reply = ChatReply(**_given(delta.thoughts, list(delta.calls)))
        if delta.candidate not in self._begun:
            self._begun.add(delta.candidate)
            reply.role, reply.content = "assistant", ""
        if delta.text:
            reply.content = delta.text
        return ChatChoice(
            index=delta.candidate,
            delta=reply,
            logprobs=self._logprobs(delta.tokens),
            finish_reason=delta.finish_reason,
        )

    def _logprobs(self, tokens: Sequence[PlacedToken]) -> ChatLogprobs | None:
        if not self._request.logprobs:
            return None
        count = self._request.top_logprobs or 0
        return ChatLogprobs(content=[_token_logprobs(placed, count) for placed in tokens])


def _given(thoughts: str, calls: list[JsonObject]) -> JsonObject:
    """Return the fields of a reply that are not empty."""
    fields = {"reasoning_content": thoughts, "tool_calls": calls}
    return {name: value for name, value in fields.items() if value}


def _token_logprobs(placed: PlacedToken, count: int) -> ChatTokenLogprobs:
    likeliest = list(placed.token.likeliest.items())[:count] if placed.token else []
    chosen = _logprob(placed.text, placed.token.logprob if placed.token else 0.0)
    return ChatTokenLogprobs(**chosen.model_dump(), top_logprobs=[_logprob(*each) for each in likeliest])


def _logprob(token: str, logprob: float) -> ChatLogprob:
    return ChatLogprob(token=token, logprob=logprob, bytes=list(token.encode()))


def _whole_calls(parts: Iterable[JsonObject]) -> list[JsonObject]:
    """Put the parts of calls together."""
    calls: dict[int, JsonObject] = {}
    for part in parts:
        function = part["function"]
        call = calls.setdefault(part["index"], {"id": part.get("id"), "type": "function", "function": {**function}})
        if call["function"] is not function and "id" not in part:
            call["function"]["arguments"] += function["arguments"]
    return list(calls.values())
