"""Who a browser is: a cookie that its key was exchanged for, and which page may use it.

The cookie holds the owner's name, when it ends, and a signature that ends with the key. No script can read it, and the
key itself is in no browser. A cookie goes wherever the browser is led, so it counts only in requests of the gateway's
own page: `SameSite` keeps it from other sites, and what remains (another port of this host, say) shows itself by the
headers that `refuse_other_pages` reads.

Source: https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from planner.gateway.keys import KeyFile, Owner, signature_of
from planner.gateway.problems import HttpProblem

COOKIE = "ladle_session"
SESSION_PATH = "/page/session"
SESSION_S = 7 * 24 * 3600  # a week: then the key is asked for again
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def new_session(owner: Owner) -> str:
    """Return the cookie's value for an owner whose key has been seen."""
    return _session(owner, str(int(time.time()) + SESSION_S))


def owner_of_session(keys: KeyFile, cookies: str) -> Owner | None:
    """Return whose session a `Cookie` header brings; None: nobody's, or it has ended."""
    try:
        morsel = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    name, _, rest = (morsel.value if morsel else "").partition(":")
    expires = rest.partition(":")[0]
    owner = keys.named(name)
    if morsel is None or owner is None:
        return None
    is_ours = hmac.compare_digest(morsel.value.encode(), _session(owner, expires).encode())
    return owner if is_ours and time.time() < int(expires) else None


def refuse_other_pages(method: str, headers: Mapping[str, str]) -> None:
    """Refuse to act on a cookie for another page than the gateway's own.

    Raises:
        HttpProblem: the browser says that another page asks, or does not say who asks for a change.
    """
    refuse_foreign_origin(headers)
    if method not in SAFE_METHODS and "origin" not in headers and headers.get("sec-fetch-site") != "same-origin":
        raise _not_own()


def refuse_foreign_origin(headers: Mapping[str, str]) -> None:
    """Refuse what a browser sends for another page than the gateway's own; other programs do not name a page.

    Raises:
        HttpProblem: the browser says so.
    """
    origin = headers.get("origin")
    is_own = origin is None or _netloc_of(origin) == headers.get("host", "").lower()
    if not is_own or headers.get("sec-fetch-site") not in (None, "none", "same-origin"):
        raise _not_own()


def _not_own() -> HttpProblem:
    message = "only the gateway's own page may ask for this without a key: send Authorization: Bearer KEY"
    return HttpProblem(403, message, code="foreign_origin")


def _session(owner: Owner, expires: str) -> str:
    return f"{owner.name}:{expires}:{signature_of(owner, f'session of {owner.name} until {expires}')}"


def _netloc_of(url: str) -> str:
    """Return host and port of an origin; empty where it cannot be read."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
