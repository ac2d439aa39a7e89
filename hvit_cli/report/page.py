"""The shell of a page: style, script and a policy that forbids the page to ask for anything.

The policy names the page's own style and script by their hashes and allows pictures from data
URIs. Whatever else got into a page would neither run nor be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from hvit_cli.report.markup import Content, Html, element, joined

NOT_A_DEVICE = "Research software, not a medical device: not for diagnosis."

_ASSETS = Path(__file__).parent / "assets"


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    """What a content security policy calls an inline text (CSP level 3, 2.3.1)."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def page(title: str, contents: Content, *, version: str) -> str:
    """A whole page.

    Args:
        title: Of the window.
        contents: What is in the body.
        version: hvit's.

    Returns:
        HTML that refers to nothing outside itself.
    """
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_source_hash(style)}; script-src {_source_hash(script)}"
    )
    head = joined(
        [
            element("meta", {"charset": "utf-8"}),
            element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
            element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            element("meta", {"name": "generator", "content": f"hvit {version}"}),
            element("title", {}, title),
            # An address of nothing, so that no browser goes looking for one.
            element("link", {"rel": "icon", "href": "data:,"}),
            element("style", {}, Html(style)),
        ],
        "\n",
    )
    footer = element(
        "footer",
        {},
        element("span", {}, f"hvit {version}"),
        element("span", {}, NOT_A_DEVICE),
    )
    body = joined(
        [element("main", {}, contents), footer, element("script", {}, Html(script))], "\n"
    )
    whole = element("html", {"lang": "en"}, element("head", {}, head), element("body", {}, body))
    return f"<!doctype html>\n{whole}\n"
