"""The command `paradigm-check`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TextIO

from typing_extensions import Self

from paradigm_transport._version import __version__
from paradigm_transport.check.advice import advise
from paradigm_transport.check.findings import Question
from paradigm_transport.check.probes import LimitsOnly
from paradigm_transport.check.questions import QUESTIONS
from paradigm_transport.check.questions.endpoints import seems_to_embed
from paradigm_transport.check.report import Report, as_json, as_table
from paradigm_transport.check.runner import OPENING_SECONDS, CheckError, connect, run
from paradigm_transport.check.server import Server
from paradigm_transport.client import ParadigmClient
from paradigm_transport.errors import APIResponseError, InvalidParameterError, NotFoundError, ParadigmError
from paradigm_transport.http.settings import Settings
from paradigm_transport.http.timeouts import Timeout

WORKS, FAILS, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""The exit codes."""

_SECONDS = 120.0
_DESCRIPTION = """\
Find out what a Paradigm server, or any server with the endpoints of OpenAI's API, supports, and recommend arguments for
LangChain and LlamaIndex. The key is read from PARADIGM_API_KEY or LIGHTON_API_KEY, the address from PARADIGM_BASE_URL.
The report contains no key, host or prompt, so you can attach it to a bug report."""
_CODES = "Exit codes: 0 completions or chats work; 1 neither works, or the check failed; 2 wrong usage; 130 Ctrl-C."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the command line without the name of the program; by default that of this process.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        return _check(options)
    except InvalidParameterError as error:
        return _say(str(error), WRONG_USE)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:  # of `| head`
        sys.stdout = None  # which would be flushed at the end
        return WORKS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paradigm-check", description=_DESCRIPTION, epilog=_CODES)
    parser.add_argument("--model", metavar="NAME", help="the model to check (default: the only one listed)")
    parser.add_argument(
        "--embedding-model", metavar="NAME", help="the embedding model (default: a listed one that seems to embed)"
    )
    parser.add_argument("--base-url", metavar="URL", help="the server's address (default: PARADIGM_BASE_URL)")
    parser.add_argument(
        "--api-key-header",
        default="Authorization",
        choices=["Authorization", "X-Api-Key"],
        help="the header that carries the key (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="ask only five questions")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    parser.add_argument(
        "--seconds",
        type=_positive,
        default=_SECONDS,
        metavar="N",
        help="ask nothing more after this time (default: %(default)g)",
    )
    parser.add_argument("--version", action="version", version=f"paradigm-check {__version__}")
    return parser


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _check(options: argparse.Namespace) -> int:
    given = {"base_url": options.base_url} if options.base_url is not None else {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        settings = Settings(**given, api_key_header=options.api_key_header, timeout=Timeout(total=options.seconds))
    for warning in warned:
        _say(str(warning.message))
    with ParadigmClient(settings, retry=LimitsOnly()) as client:
        return _ask(client, options)


def _ask(client: ParadigmClient, options: argparse.Namespace) -> int:
    began = time.monotonic()
    try:
        model = options.model or _only_model(client)
        server = Server(client, model, options.embedding_model)
        connect(server, min(OPENING_SECONDS, options.seconds))
    except (CheckError, ParadigmError) as error:
        if isinstance(error, InvalidParameterError):
            raise
        if options.json:
            _write(as_json(Report(options.model or "", error=type(error).__name__)))
        return _say(str(error), FAILS)
    questions = [each for each in QUESTIONS if each.is_quick or not options.quick]
    with _Progress(sys.stderr, len(questions)) as progress:
        answers = run(server, questions, options.seconds, progress.report)
    report = Report(model, answers, advise(model, answers), time.monotonic() - began)
    _write(as_json(report) if options.json else as_table(report, shutil.get_terminal_size((100, 24)).columns))
    return WORKS if report.is_good else FAILS


def _only_model(client: ParadigmClient) -> str:
    """The model to ask about if none was named.

    Raises:
        InvalidParameterError: the server lists no model for text, or several.
        CheckError: the server does not list its models.
        ParadigmError: it does not respond, or refuses.
    """
    try:
        names = [model.id for model in client.models() if not seems_to_embed(model)]
    except (NotFoundError, APIResponseError) as error:
        raise CheckError(f"{error} If the address is right, pass --model.") from None
    if len(names) == 1:
        return names[0]
    known = ", ".join(names) or "none"
    raise InvalidParameterError(f"pass --model: the server lists {len(names)} text models: {known}")


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def _say(line: str, code: int = WORKS) -> int:
    sys.stderr.write(f"paradigm-check: {' '.join(line.split())}\n")
    return code


class _Progress:
    """Shows on a terminal which question is being asked.

    Args:
        stream: where to.
        count: the number of questions.
    """

    def __init__(self, stream: TextIO, count: int) -> None:
        self._write: Callable[[str], object] = stream.write if stream.isatty() else lambda text: None
        self._flush = stream.flush
        self._count = count
        self._done = 0

    def report(self, question: Question) -> None:
        """Show the question that is asked now."""
        self._done += 1
        self._show(f"{self._done}/{self._count} {question.name}")

    def _show(self, text: str) -> None:
        self._write(f"\r\x1b[K{text}")
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._show("")
