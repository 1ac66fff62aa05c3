"""Runs the Python examples of a page or a package; `test_docs.py` does so in a process for each."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
ENOUGH_TOKENS = 20


def texts_of(place: str) -> list[str]:
    """Return the text of a page, or the docstrings of the public names of a package."""
    if place.endswith(".md"):
        return [(ROOT / place).read_text()]
    package = importlib.import_module(place)
    values = [getattr(package, name) for name in package.__all__]
    ours = [value for value in values if getattr(value, "__module__", "").startswith(f"{place}.")]
    return [inspect.cleandoc(value.__doc__ or "") for value in ours]


def examples_in(text: str) -> Iterator[str]:
    for fenced in re.finditer(
        r"^(?P<margin> *)```python\n(?P<code>.*?)^(?P=margin)```", text, re.DOTALL | re.MULTILINE
    ):
        yield dedent(fenced["code"])


def run_page(place: str, models: tuple[str, str], environment: Mapping[str, str], printed: Path) -> None:
    """Run the examples of a page or a package in this process.

    Args:
        place: the page, or the package with the docstrings.
        models: the names of the models that generate and embed.
        environment: variables that are set.
        printed: the file that gets all that is printed.
    """
    with printed.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(ROOT)
    os.environ.update(environment)
    model, embedding_model = models
    for text in texts_of(place):
        names: dict[str, object] = {"__name__": "example"}
        for example in examples_in(text):
            # The local Paradigm has other models, which are slow.
            example = example.replace("alfred-4.2", model).replace("multilingual-e5-large", embedding_model)
            run_example(re.sub(r"max_tokens=\d{3,}", f"max_tokens={ENOUGH_TOKENS}", example), names)


def run_example(example: str, names: dict[str, object]) -> None:
    code = compile(example, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)
