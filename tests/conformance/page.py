"""The part of docs/servers.md that is the table of servers; written by `python -m tests.conformance.page`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.servers import HONOURED, LITELLM, LLAMA, USUAL, VLLM, Server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "servers.md"
BEGIN, END = "<!-- servers: begin -->\n", "<!-- servers: end -->\n"

TITLES = {VLLM: "vLLM", LLAMA: "llama-cpp-python's server", LITELLM: "LiteLLM's proxy, in front of that vLLM"}


def render() -> str:
    """Return a section for each server."""
    return "\n".join(f"### {title}\n\n{_section(server)}" for server, title in TITLES.items())


def _section(server: Server) -> str:
    found = re.search(rf'^server-{server.name} = \["(.+)"\]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    rows: dict[tuple[str, str, str], list[str]] = {}
    for behaviour, difference in server.differences.items():
        usual = USUAL.get(behaviour, HONOURED)
        rows.setdefault((usual, difference.found, difference.why), []).append(behaviour)
    lines = [f"| {'<br>'.join(map(_shown, _joined(what)))} | {' | '.join(cells)} |" for cells, what in rows.items()]
    head = "| behaviour | usual | here | reason |\n|---|---|---|---|"
    return "\n".join([f"`{found[1]}`\n", head, *lines]) + "\n"


def _joined(behaviours: list[str]) -> list[str]:
    """Name a field of both endpoints once."""
    fields = [behaviour.partition(": ")[2] for behaviour in behaviours]
    joined = [
        f": {field}" if field and fields.count(field) > 1 else each
        for field, each in zip(fields, behaviours, strict=True)
    ]
    return list(dict.fromkeys(joined))


def _shown(behaviour: str) -> str:
    route, colon, name = behaviour.partition(": ")
    if not colon:
        return behaviour
    return f"`{name}`" + (f" of {'chats' if route == 'chat' else route}" if route else "")


def written() -> str:
    """Return what the page holds."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    """Write the sections into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + render() + END + rest.partition(END)[2])


if __name__ == "__main__":
    write()
