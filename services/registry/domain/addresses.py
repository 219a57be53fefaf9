"""Which addresses the registry may call: the public ones, and those that an operator allows.

What a client gives as the URL of a webhook must not reach into the network that the registry
stands in (server-side request forgery).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER: Final[Networks] = tuple(
    ipaddress.ip_network(network)
    # "This host"; link-local, where clouds keep their metadata, also on IPv6; multicast; IPv6
    # forms of IPv4 addresses that nobody routes.
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/128",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
        "fe80::/10",
        "fd00:ec2::254/128",
        "ff00::/8",
    )
)
_WHY: Final = (
    "it is not a public address; an operator may allow its network in "
    "HEADRACE_REGISTRY_WEBHOOK_NETWORKS"
)


def trouble(address: str, allowed: Networks) -> str | None:
    """Why an address is not called, or None. Raises ValueError for what is no address."""
    reached = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    if any(reached in network for network in _NEVER):
        return f"{address} is not called: it is link-local, multicast or no host at all"
    if reached.is_global or any(reached in network for network in allowed):
        return None
    return f"{address} is not called: {_WHY}"


def literal_trouble(host: str, allowed: Networks) -> str | None:
    """As `trouble` for a host that is written as an address; None for a name."""
    try:
        return trouble(host, allowed)
    except ValueError:
        if host.replace(".", "").isdigit() or host.lower().startswith("0x"):
            return f"{host} is a number that some programs read as an address"
        return None


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 transition address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and 1 < int(address) < 2**32:
        inner = ipaddress.IPv4Address(int(address))
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return inner or address
