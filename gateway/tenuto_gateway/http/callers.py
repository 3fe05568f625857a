"""Who may call the gateway: bearer tokens, of which the settings hold only hashes.

A token is 256 random bits, so a plain SHA-256 of it cannot be guessed back. Other ways to tell who calls (OIDC) would
be further functions from a request's credentials to a `Caller`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from tenuto.errors import SettingsError
from tenuto.settings import GatewaySettings

__all__ = ["ANYBODY", "Caller", "Callers", "Scope", "callers_of", "is_loopback", "new_token"]

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._@-]{1,64}):(?P<scope>read|operate|admin):(?P<hash>[0-9a-fA-F]{64})")


class Scope(IntEnum):
    """What a caller may do; each includes those before it."""

    READ = 1
    """Look at everything."""
    OPERATE = 2
    """Start instances, raise events, suspend, resume, terminate."""
    ADMIN = 3
    """Also delete, and act on many instances at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who was let in."""

    name: str
    scope: Scope


ANYBODY = Caller(name="anybody", scope=Scope.ADMIN)
"""Whoever calls where authentication is off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Everybody who may call."""

    by_hash: Mapping[str, Caller]

    @property
    def is_open(self) -> bool:
        """Authentication is off."""
        return not self.by_hash

    def find(self, token: str) -> Caller | None:
        """Whose token that is. It takes as long for every token that is nobody's."""
        given = _hash(token)
        found = None
        for known, caller in self.by_hash.items():
            if hmac.compare_digest(known, given):
                found = caller
        return found


def callers_of(settings: GatewaySettings) -> Callers:
    """Those whom the settings name; nobody in particular where authentication is off.

    Raises:
        SettingsError: a line is malformed, or there are none where there must be some. The message holds no hash.
    """
    by_hash: dict[str, Caller] = {}
    for number, line in enumerate(filter(None, re.split(r"[\s,]+", settings.http_tokens)), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise SettingsError(
                f"TENUTO_HTTP_TOKENS: entry {number} is not of the form name:scope:hash (the scope is read, operate or "
                "admin, the hash a SHA-256 in hexadecimal); `tenuto token NAME --scope SCOPE` makes one"
            )
        by_hash[match["hash"].lower()] = Caller(name=match["name"], scope=Scope[match["scope"].upper()])
    if settings.http_authentication == "off":
        return Callers(by_hash={})
    if not by_hash and not is_loopback(settings.http_host):
        raise SettingsError(
            f"the gateway would listen on {settings.http_host} without authentication: set TENUTO_HTTP_TOKENS "
            "(`tenuto token NAME` makes one), or TENUTO_HTTP_AUTHENTICATION=off if something else guards it"
        )
    return Callers(by_hash=by_hash)


def new_token(name: str, scope: Scope) -> tuple[str, str]:
    """A fresh token, and its line for the settings.

    Raises:
        SettingsError: no caller can be called so.
    """
    token = f"tenuto_{secrets.token_urlsafe(32)}"
    line = f"{name}:{scope.name.lower()}:{_hash(token)}"
    if _LINE.fullmatch(line) is None:
        raise SettingsError(
            f"a caller's name has 1 to 64 letters, digits and . _ @ -, which {name!r} has not"
        )
    return token, line


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
