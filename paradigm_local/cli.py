"""The command `paradigm-local`."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from paradigm_local import local
from paradigm_local.errors import LocalParadigmError
from paradigm_local.faults import HEADER

_DEFAULT_PORT = 8000
_POLL_SECONDS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code.

    Args:
        arguments: the command line without the program's name; by default this process's.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except LocalParadigmError as error:
        print(error, file=sys.stderr)  # noqa: T201  this is the command's own output
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paradigm-local", description="LightOn Paradigm's completions, on this machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve the endpoint until Ctrl-C or SIGTERM")
    serve.set_defaults(run=_serve)
    _add_model_options(serve)
    serve.add_argument("--host", default=local.LOOPBACK, help="address (%(default)s)")
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="HOST",
        help="name or address by which clients reach the server, besides --host and loopback; may be repeated",
    )
    serve.add_argument("--port", type=int, default=_DEFAULT_PORT, help="port, 0 picks one (%(default)s)")
    serve.add_argument(
        "--api-key",
        default=local.DEFAULT_API_KEY,
        metavar="KEY",
        help="key that clients must send (%(default)s)",
    )
    serve.add_argument("--faults", action="store_true", help=f"let clients ask for faults by the header {HEADER}")
    demo = commands.add_parser("demo", help="see what it can do")
    demo.set_defaults(run=_demo)
    _add_model_options(demo)
    return parser


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", metavar="path.gguf", help="model file (SmolLM2-135M-Instruct, fetched once)")
    command.add_argument(
        "--context",
        type=_positive,
        default=local.DEFAULT_CONTEXT,
        metavar="TOKENS",
        help="most tokens of a prompt and its completion (%(default)s)",
    )
    command.add_argument(
        "--parallel",
        type=_positive,
        default=local.DEFAULT_PARALLEL,
        metavar="N",
        help="completions generated at once (%(default)s)",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _serve(options: argparse.Namespace) -> int:
    paradigm = local.LocalParadigm(
        options.model,
        host=options.host,
        port=options.port,
        api_key=options.api_key,
        context=options.context,
        parallel=options.parallel,
        faults=options.faults,
        allowed_hosts=options.allowed_host,
    )
    with paradigm:
        _log_requests()
        print(_greeting(paradigm), flush=True)  # noqa: T201  this is the command's own output
        _wait_for_signal(paradigm)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from paradigm_local import demo

    code: int = demo.main(options)
    return code


def _greeting(paradigm: local.LocalParadigm) -> str:
    own = paradigm.api_key != local.DEFAULT_API_KEY
    return (
        f"Local Paradigm serves {paradigm.model} at {paradigm.base_url}\n"
        f"export PARADIGM_BASE_URL={paradigm.base_url}\n"
        f"export PARADIGM_API_KEY={'<your --api-key>' if own else paradigm.api_key}"
    )


def _log_requests() -> None:
    """One line a request on stderr: method, path and status, never a prompt."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)


def _wait_for_signal(paradigm: local.LocalParadigm) -> None:
    asked_to_end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_end.set())
    while paradigm.is_running and not asked_to_end.wait(_POLL_SECONDS):
        pass


if __name__ == "__main__":
    sys.exit(main())
