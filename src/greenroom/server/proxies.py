"""Where a request comes from, and whether its client speaks TLS, behind proxies.

A proxy says from whom it has a request (`X-Forwarded-For`, or `Forwarded`, RFC 7239); so may any client. Each proxy adds what it
sees at the end, so the chain is read from its end, as long as the speaker is one that the operator trusts. uvicorn's `proxy_headers`
does not know `Forwarded`, and would change the address for everything else too.

Rule: a word about an address is believed only from a trusted proxy; without one, the address is the connection's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from greenroom.errors import InvalidConfig
from greenroom.server.answers import Scope

_HOPS_MAX: Final = 32
_IPV6_PREFIX: Final = 64
"""What one customer gets at the least: of it, every address is the same client."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The proxies that are trusted.

    Args:
        trusted: addresses and networks.

    Raises:
        InvalidConfig: one of them is neither.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted: tuple[_Network, ...] = tuple(map(_network, trusted))

    def client_of(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """Returns the client that a request is counted for: its IPv4 address, its IPv6 network, or an empty text for a Unix socket."""
        peer = scope.get("client")
        address = _address(str(peer[0])) if peer else None
        if address is None:
            return str(peer[0]) if peer else ""
        if self._trusted:
            named = {self._first_stranger(address, chain) for chain in _chains(headers)}
            if len(named) == 1:
                address = named.pop()
        return _counted(address)

    def _first_stranger(self, address: _Address, chain: Sequence[str]) -> _Address:
        """Returns where the chain of trusted proxies begins that ends at `address`."""
        for said in reversed(chain[-_HOPS_MAX:]):
            named = _address(said)
            if named is None or not self._trusts(address):
                break  # `unknown`, a name that hides an address, or nonsense: the last that is known counts
            address = named
        return address

    def are_at(self, address: str) -> bool:
        """Returns whether connections from there are those of a trusted proxy."""
        found = _address(address)
        return found is not None and self._trusts(found)

    def _trusts(self, address: _Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


def counted(address: str) -> str:
    """Returns the client that an address is counted for: an IPv6 address by its network, of which one client has every address."""
    found = _address(address)
    return _counted(found) if found is not None else address


def is_secure(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Returns whether the client speaks TLS, to us or to a proxy.

    A proxy's word, and anybody's: a client that says it wrongly only keeps its own cookie from itself.
    """
    forwarded = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    first = headers.get("forwarded", "").partition(",")[0]
    protos = {value.lower() for name, value in _parts(first) if name == "proto"}
    return "https" in {scope.get("scheme"), forwarded} | protos


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidConfig(
            f"server.trusted_proxies: {text[:80]!r} is neither an address nor a network",
            hint="write for example 127.0.0.1, ::1 or 10.0.0.0/8",
        ) from error


def _chains(headers: Mapping[str, str]) -> list[Sequence[str]]:
    """Returns what each of the two headers says, the last proxy last.

    A proxy writes one of them, and hands the other on as its client sent it. Which one is the proxy's is not known here, so where there
    are both and they name different clients, neither is believed.
    """
    found: list[Sequence[str]] = []
    if given := headers.get("forwarded", "").strip():
        elements = given.split(",")
        found.append([next((value for name, value in _parts(each) if name == "for"), "") for each in elements])
    if given := headers.get("x-forwarded-for", "").strip():
        found.append([each.strip() for each in given.split(",")])
    return found


def _parts(element: str) -> list[tuple[str, str]]:
    # No regular expression: anybody sends these, and one that tries each place of a long text holds the event loop for seconds.
    pairs = [pair.partition("=") for pair in element.split(";")]
    return [(name.strip().lower(), value.strip().strip('"')) for name, equals, value in pairs if equals]


def _address(text: str) -> _Address | None:
    """Returns an address as it stands in these headers: also with a port, and IPv6 in brackets."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _counted(address: _Address) -> str:
    if isinstance(address, ipaddress.IPv6Address) and not address.is_loopback:
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)
