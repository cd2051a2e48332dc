"""Inputs by URL, fetched by the host. What is connected to is an address that was checked, never a name anew."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import unquote

import httpx

from rlm.context import address
from rlm.documents.formats import suffix_of, suffix_of_mime
from rlm.errors import InputError

SECONDS = 300.0
"""That one download may take, redirects included."""
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""Of silence."""
MAX_REDIRECTS = 10
_URL = re.compile(r"https?://", re.IGNORECASE)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def is_url(given: str) -> bool:
    return _URL.match(given) is not None


@dataclass(frozen=True, slots=True)
class Download:
    """One answer, whose body is still to be read."""

    name: str
    """A file name, by the server's word or the URL's, with a suffix that fits the type."""
    charset: str | None
    pieces: Iterator[bytes]
    """Of the body; raises `InputError` for one that is too large, too slow, or cut."""


@contextmanager
def fetch(
    url: str, *, max_bytes: int, allow_private: bool, resolve: address.Resolve = address.resolve
) -> Iterator[Download]:
    """GET `url`, following redirects, each of which is checked as the first. Raises `InputError`.

    Proxies, netrc and cookies of the environment do not count.
    """
    at, shown, deadline = _parsed(url), visible(url), time.monotonic() + SECONDS
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    try:
        with httpx.Client(trust_env=False, timeout=timeout, verify=_trust()) as client:
            for _ in range(MAX_REDIRECTS + 1):
                request = _request(client, at, allow_private=allow_private, resolve=resolve)
                response = client.send(request, stream=True)
                try:
                    if response.status_code in _REDIRECTS and "location" in response.headers:
                        at = _redirected(at, response.headers["location"])
                        continue
                    if response.status_code != 200:
                        raise InputError(f"cannot fetch {shown}: it answers {response.status_code}")
                    yield _download(at, response, shown, max_bytes, deadline)
                    return
                finally:
                    response.close()
            raise InputError(f"cannot fetch {shown}: more than {MAX_REDIRECTS} redirects")
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        raise InputError(f"cannot fetch {shown}: {_reason(error)}") from error


def visible(url: str) -> str:
    """A URL without what may be a secret: user and password, query and fragment."""
    plain = re.sub(r"(?<=//)[^/?#]*@", "", url)
    bare = re.sub(r"[?#].*", "", plain, flags=re.DOTALL)
    return bare + ("?…" if "?" in plain else "")


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(f"{visible(url)} is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(f"{visible(url)} is not a URL of http or https")
    return parsed


def _trust() -> ssl.SSLContext:
    # The certificates that SSL_CERT_FILE names, or else certifi's: the one word of the environment that counts.
    return httpx.create_ssl_context(trust_env=True)


def _request(client: httpx.Client, url: httpx.URL, *, allow_private: bool, resolve: address.Resolve) -> httpx.Request:
    host, port = url.host, url.port or (443 if url.scheme == "https" else 80)
    try:
        found = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot fetch {visible(str(url))}: {getattr(error, 'strerror', None) or error}") from error
    allowed = [each for each in found if allow_private or address.is_public(each)]
    if not allowed:
        raise InputError(
            f"{host} is not on the public internet ({found[0] if found else 'no address'}): "
            "--allow-private-urls fetches it nevertheless"
        )
    headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "rlm"}
    extensions: dict[str, Any] = {"timeout": client.timeout.as_dict()}
    if url.scheme == "https":
        extensions["sni_hostname"] = host
    pinned = url.copy_with(host=allowed[0].partition("%")[0])
    return client.build_request("GET", pinned, headers=headers, extensions=extensions)


def _redirected(at: httpx.URL, location: str) -> httpx.URL:
    try:
        to = at.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(f"cannot fetch {visible(str(at))}: it redirects to what is no URL") from error
    if at.scheme == "https" and to.scheme != "https":
        raise InputError(f"cannot fetch {visible(str(at))}: it redirects from https to {to.scheme or 'nothing'}")
    if (at.host, at.port) != (to.host, to.port):
        to = to.copy_with(userinfo=b"")
    return _parsed(str(to))


def _download(url: httpx.URL, response: httpx.Response, shown: str, limit: int, deadline: float) -> Download:
    content_type = Message()
    content_type["content-type"] = response.headers.get("content-type", "")
    name = _name(url, response.headers.get("content-disposition", ""))
    fitting = suffix_of_mime(content_type.get_content_type()) if response.headers.get("content-type") else ""
    if fitting and not _fits(name, fitting):
        name += fitting
    charset = content_type.get_content_charset()
    told = response.headers.get("content-length", "")
    if told.isdigit() and int(told) > limit:
        raise InputError(_too_large(shown, limit))
    return Download(name, charset, _body(response, shown, limit, deadline))


def _fits(name: str, suffix: str) -> bool:
    """Whether the name says itself what the file is. Servers call all that is text plain."""
    own = suffix_of(name)
    return (
        own == suffix or (suffix == ".txt" and own != "") or (suffix == ".zip" and own in (".docx", ".xlsx", ".pptx"))
    )


def _body(response: httpx.Response, shown: str, limit: int, deadline: float) -> Iterator[bytes]:
    size = 0
    try:
        for piece in response.iter_bytes():
            size += len(piece)
            if size > limit:
                raise InputError(_too_large(shown, limit))
            if time.monotonic() > deadline:
                raise InputError(f"cannot fetch {shown}: it takes more than {SECONDS:g} s")
            yield piece
    except httpx.HTTPError as error:
        raise InputError(f"cannot fetch {shown}: {_reason(error)}") from error


def _too_large(shown: str, limit: int) -> str:
    return f"{shown} has more than {limit:,} bytes; --max-download sets another limit"


def _name(url: httpx.URL, disposition: str) -> str:
    """One component of a path, printable: the server's word for it may be anything."""
    told = Message()
    told["content-disposition"] = disposition
    name = (disposition and told.get_filename()) or unquote(url.path.rstrip("/").rpartition("/")[2]) or url.host
    name = os.path.basename(str(name).replace("\\", "/"))
    name = "".join(char for char in name if char.isprintable()).strip(". ")[-100:]
    return name or "download"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
