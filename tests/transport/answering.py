"""A server for `WireServer.always` that does what requests ask for, except for what it was made to ignore or refuse.

It writes words in place of tokens: the likeliest ones follow from the prompt, sampled ones from chance.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping
from typing import Any

from paradigm_transport import CHAT_TEMPLATES
from tests.wire import Request, Script, chunk, embed, models, reply, search_result, search_results, sse

MODEL = "alfred-4.2"
KEY = "a-key-that-is-secret"
WINDOW = 512

_TOKEN, _TOKEN_WITHOUT_MARKS = re.compile(r"<[^<>\s]+>|\w+|[^\w\s]"), re.compile(r"\w+|[^\w\s]")
_SCHEMAS = ("response_format", "structured_outputs", "guided_json", "json_schema", "grammar")
_GREEDY = {"top_k": 1, "min_p": 1.0, "top_p": 0.0001, "temperature": 0}


class AnsweringServer:
    """A server that knows all fields.

    Args:
        ignored: fields that it ignores.
        refused: fields that it refuses; names of `_SCHEMAS` also as `name (chat)`.
        missing: endpoints that it does not have.
        headers: of its responses.
        bos: the number of tokens in front of each prompt.
        more_in_chats: the number of further tokens in front of each chat.
        most_stops: the most stop sequences that it accepts.
        heeded_stops: the number of those that it heeds; None for all.
        most_temperature: the highest temperature that it accepts.
        samples: whether it samples if no temperature is given.
        usage: whether it counts tokens.
        thinks: what the model thinks, and the field that it arrives in.
        entry: more of the model's entry in the model list.
        knows_marks: whether a mark is one token.
        accepts_anything: whether it takes any key, model and value, and cuts prompts.
        call_in_text: a call that stays in the text, cut off if it ends in `{`; None for calls in their own field.
    """

    def __init__(
        self,
        *,
        ignored: Collection[str] = (),
        refused: Collection[str] = (),
        missing: Collection[str] = (),
        headers: Mapping[str, str] | None = None,
        bos: int = 1,
        more_in_chats: int = 0,
        most_stops: int = 99,
        heeded_stops: int | None = None,
        most_temperature: float = 2,
        samples: bool = True,
        usage: bool = True,
        thinks: tuple[str, str] | None = None,
        entry: Mapping[str, Any] | None = None,
        knows_marks: bool = True,
        accepts_anything: bool = False,
        call_in_text: str | None = None,
    ) -> None:
        self.ignored, self.refused, self.missing = set(ignored), set(refused), set(missing)
        self.headers = headers
        self.bos, self.more_in_chats = bos, more_in_chats
        self.most_stops, self.heeded_stops = most_stops, heeded_stops
        self.samples, self.most_temperature = samples, most_temperature
        self.usage = usage
        self.thinks = thinks
        self.entry = {"max_model_len": WINDOW, **(entry or {})}
        self.accepts_anything = accepts_anything
        self.knows_marks = knows_marks
        self.call_in_text = call_in_text
        self.chance = random.Random(0)

    def __call__(self, request: Request) -> Script:
        endpoint = request.path.removeprefix("/api/v2/").removeprefix("/api/v3/").removeprefix("/api/")
        if request.headers.get("authorization") != f"Bearer {KEY}" and not self.accepts_anything:
            return reply({"detail": "Invalid API key."}, 401)
        if endpoint in self.missing:
            return reply({"detail": "Not found."}, 404)
        if endpoint == "models":
            listed = models(MODEL)
            listed["data"][0].update(self.entry)
            return reply(listed, headers=self.headers)
        if endpoint == "embeddings":
            return embed(request)
        if endpoint == "search":
            return reply(search_results(search_result()))
        if endpoint == "tokenize":
            return reply({"total_tokens": 7})
        if endpoint in ("completions", "chat/completions"):
            return self.generate(dict(request.body), is_chat=endpoint.startswith("chat"))
        return reply({"detail": "Not found."}, 404)

    def generate(self, body: dict[str, Any], *, is_chat: bool) -> Script:
        problem = self.problem_with(body)
        if problem:
            return reply({"detail": problem}, 400)
        for name in self.ignored:
            body.pop(name, None)
        prompt = self.prompt_of(body, is_chat)
        count = self.count(prompt) + self.more_in_chats * is_chat
        if count > WINDOW and not self.accepts_anything:
            return reply({"detail": f"This model's maximum context length is {WINDOW} tokens."}, 400)
        answers = [self.answer(prompt, body) for _ in range(body.get("n", 1))]
        counted = {
            "prompt_tokens": count,
            "completion_tokens": sum(len(tokens) for tokens, _ in answers),
            "total_tokens": count + sum(len(tokens) for tokens, _ in answers),
        }
        if body.get("stream"):
            return self.streamed(body, *answers[0], counted, is_chat)
        choices = [self.choice(body, prompt, index, *answer, is_chat) for index, answer in enumerate(answers)]
        whole = {"id": "1", "object": "text_completion", "model": MODEL, "choices": choices}
        return reply({**whole, **({"usage": counted} if self.usage else {})}, headers=self.headers)

    def count(self, prompt: str) -> int:
        pattern = _TOKEN if self.knows_marks else _TOKEN_WITHOUT_MARKS
        return len(pattern.findall(prompt)) + self.bos

    def problem_with(self, body: dict[str, Any]) -> str | None:
        for name in body:
            if name in self.refused:
                return f"{name} is not allowed"
        if self.accepts_anything:
            return None
        if body["model"] != MODEL:
            return "There is no such model."
        if not isinstance(body.get("temperature", 0), (int, float)):
            return "temperature must be a number"
        if body.get("temperature", 0) > self.most_temperature:
            return f"temperature must be at most {self.most_temperature}"
        stops = body.get("stop", [])
        return f"stop: at most {self.most_stops}" if len(stops) > self.most_stops else None

    def prompt_of(self, body: dict[str, Any], is_chat: bool) -> str:
        if not is_chat:
            return str(body["prompt"])
        written = CHAT_TEMPLATES["chatml"].render([(each["role"], each["content"]) for each in body["messages"]])
        return written + "".join(tool["function"]["name"] for tool in body.get("tools", ()))

    def answer(self, prompt: str, body: dict[str, Any]) -> tuple[list[str], str]:
        """Return the tokens of an answer, and why it ends."""
        most = body.get("max_tokens", 16)
        if body.get("ignore_eos"):
            is_shown = not body.get("skip_special_tokens", True) and "skip_special_tokens" not in self.ignored
            return ["<|im_end|>" if is_shown else ""] * most, "length"
        if any(name in body for name in _SCHEMAS):
            return ['{"is_even": ', "true}"], "stop"
        tokens = [self.token(prompt, body, place) for place in range(most)]
        text = "".join(tokens)
        ends = [at for stop in body.get("stop", [])[: self.heeded_stops] if (at := text.find(stop)) >= 0]
        return ([text[: min(ends)]], "stop") if ends else (tokens, "length")

    def token(self, prompt: str, body: dict[str, Any], place: int) -> str:
        if body.get("logit_bias"):
            return " biased"
        if place > 3 and (body.get("frequency_penalty") or body.get("presence_penalty")):
            return f" other{place}"
        given = {"temperature": int(self.samples), **body}
        if any(given.get(name) == value for name, value in _GREEDY.items()):
            return " ha" if "ha ha" in prompt else f" {17 + len(prompt) + place}"
        chance = random.Random(f"{body['seed']} {place}") if "seed" in body else self.chance
        return f" word{chance.randrange(10_000)}"

    def choice(
        self, body: dict[str, Any], prompt: str, index: int, tokens: list[str], reason: str, is_chat: bool
    ) -> dict[str, Any]:
        text = "".join(tokens)
        common = {"index": index, "finish_reason": reason, "logprobs": self.logprobs(body, tokens)}
        if not is_chat:
            return {**common, "text": prompt * bool(body.get("echo")) + text}
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if body.get("tools") and body.get("tool_choice") != "none":
            call = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            common["finish_reason"] = "tool_calls"
            if self.call_in_text:
                message = {"role": "assistant", "content": self.call_in_text}
                common["finish_reason"] = "length" if self.call_in_text.endswith("{") else "stop"
        elif self.thinks:
            message[self.thinks[0]] = self.thinks[1]
        return {**common, "message": message}

    def logprobs(self, body: dict[str, Any], tokens: list[str]) -> dict[str, Any] | None:
        if not body.get("logprobs"):
            return None
        likeliest = [{token: -0.1, " or": -2.0} for token in tokens]
        return {"tokens": tokens, "token_logprobs": [-0.1] * len(tokens), "top_logprobs": likeliest, "text_offset": []}

    def streamed(
        self, body: dict[str, Any], tokens: list[str], reason: str, counted: dict[str, int], is_chat: bool
    ) -> Script:
        events = [self.event(token, None, is_chat) for token in tokens] + [self.event("", reason, is_chat)]
        if body.get("stream_options", {}).get("include_usage") and self.usage:
            events.append(chunk(usage=counted))
        return sse(*events, headers=self.headers)

    def event(self, text: str, reason: str | None, is_chat: bool) -> dict[str, Any]:
        return chunk(text, reason, choice={"delta": {"content": text}, "text": None} if is_chat else None)
