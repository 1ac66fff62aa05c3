"""The command `paradigm-local`."""

import argparse
import io
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from math import inf

from paradigm_local import local
from paradigm_local.errors import LocalParadigmError
from paradigm_local.faults import HEADER

_DEFAULT_PORT = 8000
_POLL_SECONDS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the command line without the name of the program; by default that of this process.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a question mark for what its encoding lacks
    try:
        code: int = options.run(options)
    except LocalParadigmError as error:
        print(error, file=sys.stderr)  # noqa: T201  the output of the command
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paradigm-local", description="Serve LightOn Paradigm's endpoints on this machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve the endpoints until Ctrl-C or SIGTERM")
    serve.set_defaults(run=_serve)
    _add_model_options(serve)
    serve.add_argument("--host", default=local.LOOPBACK, help="address to listen on (default: %(default)s)")
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="HOST",
        help="another name or address that clients use for the server; may be repeated",
    )
    serve.add_argument(
        "--port", type=int, default=_DEFAULT_PORT, help="port to listen on; 0 picks a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--api-key",
        default=local.DEFAULT_API_KEY,
        metavar="KEY",
        help="key that clients must send (default: %(default)s)",
    )
    serve.add_argument(
        "--documents", metavar="FOLDER", help="folder of text, Markdown, HTML and PDF to search at /api/v3/search"
    )
    serve.add_argument(
        "--rate-limit", type=_rate, metavar="N", help="requests a second to accept; those beyond get 429 (default: all)"
    )
    serve.add_argument("--faults", action="store_true", help=f"let clients request faults with the header {HEADER}")
    demo = commands.add_parser("demo", help="show a chain, a tool, answers from documents, a batch and usage")
    demo.set_defaults(run=_demo)
    _add_model_options(demo)
    return parser


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", metavar="path.gguf", help="GGUF file (default: SmolLM2-135M-Instruct, downloaded once)"
    )
    command.add_argument(
        "--embedding-model",
        metavar="path.gguf",
        help="GGUF file of an embedding model (default: multilingual-e5-small, downloaded once on first use)",
    )
    command.add_argument(
        "--context",
        type=_positive,
        default=local.DEFAULT_CONTEXT,
        metavar="TOKENS",
        help="maximum tokens of a prompt and its completion together (default: %(default)s)",
    )
    command.add_argument(
        "--parallel",
        type=_positive,
        default=local.DEFAULT_PARALLEL,
        metavar="N",
        help="number of completions generated at once (default: %(default)s)",
    )


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return number


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _serve(options: argparse.Namespace) -> int:
    paradigm = local.LocalParadigm(
        options.model,
        embedding_model=options.embedding_model,
        host=options.host,
        port=options.port,
        api_key=options.api_key,
        context=options.context,
        parallel=options.parallel,
        faults=options.faults,
        allowed_hosts=options.allowed_host,
        documents=options.documents,
    )
    with paradigm:
        paradigm.limit_requests(options.rate_limit)
        _log_requests()
        print(_greeting(paradigm), flush=True)  # noqa: T201  the output of the command
        _wait_for_signal(paradigm)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from paradigm_local import demo

    code: int = demo.main(options)
    return code


def _greeting(paradigm: local.LocalParadigm) -> str:
    is_secret = paradigm.api_key != local.DEFAULT_API_KEY
    searched = "" if paradigm.index is None else f"{paradigm.index.describe()}\n"
    return (
        f"{searched}Local Paradigm serves {paradigm.model} and {paradigm.embedding_model} at {paradigm.base_url}\n"
        f"export PARADIGM_BASE_URL={paradigm.base_url}\n"
        f"export PARADIGM_API_KEY={'<your --api-key>' if is_secret else paradigm.api_key}"
    )


def _log_requests() -> None:
    """Log one line per request on stderr, with method, path and status, and never a prompt."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)


def _wait_for_signal(paradigm: local.LocalParadigm) -> None:
    signalled = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signalled.set())
    while paradigm.is_running and not signalled.wait(_POLL_SECONDS):
        pass


if __name__ == "__main__":
    sys.exit(main())
