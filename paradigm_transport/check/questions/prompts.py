"""Questions about prompts on the completions endpoint: what the server adds, and how the model wants chats written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec

from paradigm_transport.access import Connected
from paradigm_transport.chat.dialects.choosing import find_dialect
from paradigm_transport.chat.server_templates import ServerTemplates
from paradigm_transport.chat.templates import CHAT_TEMPLATES, SERVER, Template, find_template
from paradigm_transport.check.findings import Finding, UnclearError, question
from paradigm_transport.check.prompts import HELLO, SYSTEM
from paradigm_transport.check.routes import CHAT, COMPLETIONS, Generated, read_generated
from paradigm_transport.check.server import Server
from paradigm_transport.errors import ParadigmError

GROUP = "Prompts"

_MESSAGES = [("system", SYSTEM), ("user", HELLO)]
_ANSWER_TOKENS = 8
_NO_JINJA = "the server's templates need jinja2: pip install jinja2"


@question("BOS token", GROUP)
def beginning(server: Server) -> Finding:
    """Whether the server adds a BOS token to prompts, as some models expect."""
    server.require(COMPLETIONS)
    count = _prompt_tokens(server, "a")
    if count is None:
        raise UnclearError("the server reports no usage to count with")
    added = count - 1  # the letter is one token in every vocabulary
    if added > 1:
        return Finding("failed", f"the server adds {added} tokens to a prompt, not only a BOS token", added)
    return Finding("works", "added by the server", 1) if added else Finding("missing", "the server adds none", 0)


def _prompt_tokens(server: Server, prompt: str) -> int | None:
    counted = server.generate(prompt, COMPLETIONS, max_tokens=1).usage
    return None if counted is None else counted.prompt_tokens


@question("chat template", GROUP, seconds=30)
def chat_template(server: Server) -> Finding:
    """Which template writes chats for the model on the completions endpoint."""
    server.require(COMPLETIONS)
    answer = _answer_of_chats(server)
    tried = []
    for name, template in _candidates(server):
        if answer is None:
            if name == SERVER or _is_one_token(server, template.stop):
                return _found(
                    name, template, "it is in the model list" if name == SERVER else "its end mark is one token"
                )
            continue
        written = server.generate(template.render(_MESSAGES), COMPLETIONS, max_tokens=_ANSWER_TOKENS)
        is_known = name == SERVER or written.text.strip() == answer.text.strip() or _is_one_token(server, template.stop)
        if is_known and _is_as_long(written, answer):
            return _found(name, template, "it gives the same prompt as the chat endpoint")
        tried.append(name)
    return Finding("missing", "; ".join(filter(None, (_why_not(server), _tried(tried)))))


def _why_not(server: Server) -> str:
    return "" if find_spec("jinja2") else _NO_JINJA


def _tried(names: list[str]) -> str:
    if not names:
        return "the server lists none, and no named one fits"
    return f"none gives the same prompt as the chat endpoint; tried {', '.join(names)}"


def _candidates(server: Server) -> Iterator[tuple[str, Template]]:
    listed = _template_of_server(server)
    if listed is not None:
        yield SERVER, listed
    yield from CHAT_TEMPLATES.items()


def _template_of_server(server: Server) -> Template | None:
    """The template that the server lists; None if it lists no template that can be read here."""
    if find_spec("jinja2") is None:
        return None
    settings = server.client.settings
    given = {name: getattr(settings, name) for name in ("api_key", "api_key_header", "base_url", "verify")}
    with Connected(**given, timeout=server.timeout, max_retries=0) as access:
        try:
            template = ServerTemplates().find(SERVER, server.model, access)
        except ParadigmError:
            return None
    return None if template is None else find_template(template)


def _answer_of_chats(server: Server) -> Generated | None:
    """What the chat endpoint answers, to compare with; None if it does not work."""
    if not server.works(CHAT):
        return None
    messages = [{"role": role, "content": content} for role, content in _MESSAGES]
    fields = {**server.greedy_fields(CHAT), "messages": messages, "max_tokens": _ANSWER_TOKENS}
    try:
        return read_generated(server.send(CHAT.target, {"model": server.model, **fields}).body, CHAT)
    except ParadigmError:
        return None


def _is_as_long(written: Generated, answer: Generated) -> bool:
    """Whether two prompts have as many tokens, or the same answer if those are not counted."""
    if written.usage and answer.usage:
        return written.usage.prompt_tokens == answer.usage.prompt_tokens
    return written.text.strip() == answer.text.strip()


def _is_one_token(server: Server, mark: str | None) -> bool:
    if not mark:
        return False
    plain, marked = (_prompt_tokens(server, prompt) for prompt in ("a", f"a{mark}"))
    return plain is not None and marked == plain + 1


def _found(name: str, template: Template, why: str) -> Finding:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of calls in an unknown form, which are Hermes' then
        dialect = find_dialect(template)
    reads = f"; calls and thoughts are read in the form of {dialect.name}" if name == SERVER else ""
    return Finding("works", f"{name!r}: {why}{reads}", name)


QUESTIONS = (beginning, chat_template)
