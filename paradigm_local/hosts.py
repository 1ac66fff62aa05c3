"""Host names and addresses."""

import ipaddress
import re

from paradigm_local.errors import LocalParadigmError

_NAME = re.compile(r"[a-z0-9_.-]+")


def read_host(text: str) -> str:
    """Normalize a host name or an IP address to lower case without brackets.

    Raises:
        LocalParadigmError: the text is neither, for example because it is a URL or has a port.
    """
    host = text.strip("[]").lower()
    if not (_NAME.fullmatch(host) or _is_address(host)):
        raise LocalParadigmError(f"{text!r} is not a host: use a name or an address without scheme, port and path.")
    return host


def is_loopback(host: str) -> bool:
    """Return whether a host is `localhost` or a loopback address, which no DNS server can redirect."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
