"""The answers to one chat."""

import json
import re
import uuid

from paradigm_local.chat_contract import ChatCompletionRequest, FunctionChoice
from paradigm_local.constraints import Constraint
from paradigm_local.contract import JsonObject
from paradigm_local.engine import Engine, Piece
from paradigm_local.generation import Candidate, Delta, Generation
from paradigm_local.sampling import chat_body, chat_messages, forced_call_body


class ChatGeneration(Generation):
    """The answers to a chat.

    llama.cpp writes the chat and reads calls. A call that is required is generated under a grammar instead, as vLLM
    does it: llama.cpp does not make sure of it.

    Args:
        engine: the model.
        request: the request.
        constraint: the constraint on the text or on the call that is required, or None.
    """

    def __init__(self, engine: Engine, request: ChatCompletionRequest, constraint: Constraint | None) -> None:
        kind = ForcedCall if request.requires_call else Candidate
        super().__init__(engine, constraint, [kind(index, request.stops, 0) for index in range(request.candidates)])
        self._request = request

    def _generate(self, candidate: Candidate) -> None:
        request, constraint = self._request, self._constraint
        if isinstance(candidate, ForcedCall) and constraint is not None:
            prompt = self._engine.write_chat(chat_messages(request)) + candidate.open(request.tool_choice)
            body = forced_call_body(request, prompt, constraint.lark, candidate.index)
            self._engine.generate(body, self._handler(candidate))
        else:
            grammar = constraint.lark if constraint else None
            self._engine.chat(chat_body(request, grammar, candidate.index), self._handler(candidate))


_BEGIN_OF_CALL = re.compile(r'\{"name": ("(?:[^"\\]|\\.)*"), "arguments": ')


class ForcedCall(Candidate):
    """A call while it is generated: its text is the JSON of the call, or of its arguments if the tool is named.

    Stop sequences do not apply: they would break the JSON.
    """

    _name: str | None = None
    _rest = ""  # not sent yet
    _closing = ""  # what follows the arguments
    _is_begun = False

    def open(self, choice: str | FunctionChoice) -> str:
        """Return the beginning of the call, in the markup that most models with tools know.

        Args:
            choice: the tool, or `required` for any.
        """
        if isinstance(choice, str):
            return "<tool_call>\n"
        self._name = choice.function.name
        return f'<tool_call>\n{{"name": {json.dumps(self._name)}, "arguments":'

    def feed(self, piece: Piece) -> Delta:
        """Add a piece; return the parts of the call that are certain."""
        self.completion_tokens = piece.completion_tokens
        self._rest += piece.text
        if self._name is None:
            begin = _BEGIN_OF_CALL.match(self._rest)
            if begin is not None:
                self._name, self._rest, self._closing = json.loads(begin[1]), self._rest[begin.end() :], "}"
        calls: list[JsonObject] = []
        if self._name is not None and self._rest:
            arguments, self._rest = self._split(piece.finish_reason)
            calls = [self._part(self._name, arguments)] if arguments else []
        finish = "tool_calls" if piece.finish_reason == "stop" else piece.finish_reason
        return Delta(self.index, "", [], finish, calls=calls)

    def _part(self, name: str, arguments: str) -> JsonObject:
        """Return a part of the call; one for each piece, since clients merge parts of several chunks only."""
        if self._is_begun:
            return {"index": 0, "function": {"arguments": arguments}}
        self._is_begun = True
        function = {"name": name, "arguments": arguments}
        return {"index": 0, "id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}

    def _split(self, finish_reason: str | None) -> tuple[str, str]:
        """Split the rest into arguments and what may be the end of the call."""
        if finish_reason == "length":
            return self._rest, ""
        end = len(self._rest) - len(self._closing)
        return self._rest[:end], self._rest[end:]
