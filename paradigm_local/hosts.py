"""Host names and addresses: which are this machine, and how users write them."""

import ipaddress
import re

from paradigm_local.errors import LocalParadigmError

_NAME = re.compile(r"[a-z0-9_.-]+")


def read_host(text: str) -> str:
    """Read a host name or an address as a user writes it.

    Args:
        text: a name, or an IP address; IPv6 also in brackets.

    Returns:
        The host in lower case, without brackets.

    Raises:
        LocalParadigmError: it is neither a name nor an address, for example a URL, or has a port.
    """
    host = text.strip("[]").lower()
    if not (_NAME.fullmatch(host) or _is_address(host)):
        raise LocalParadigmError(f"{text!r} is not a host: give a name or an address, without scheme, port and path.")
    return host


def is_loopback(host: str) -> bool:
    """Whether a host is this machine under any DNS: `localhost`, or an IP address that is a loopback address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
