"""HTML that is escaped by default, data URIs, and light colouring of Python source.

Text becomes HTML only through :func:`element`, so hostile names and sources stay text. What is
shown, and in which order, does not belong here.
"""

from __future__ import annotations

import base64
import html
import json
import keyword
import math
import re
from typing import Any

_TOKEN = re.compile(
    r"(?P<comment>#[^\n]*)"
    r"|(?P<string>\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<number>\b\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?\b)"
    rf"|(?P<keyword>\b(?:{'|'.join(keyword.kwlist)})\b)",
    re.DOTALL,
)
# Inside a script element only these could end it or start a comment; as JSON escapes they cannot.
_SCRIPT_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Html(str):
    """Text that is HTML already; every other string is escaped where it meets HTML."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Html:
    """Return ``<tag attributes>children</tag>`` with everything but :class:`Html` escaped.

    Attribute names lose a trailing underscore and turn inner ones to hyphens (``class_``,
    ``aria_label``); attributes that are None are left out.
    """
    return Html(f"<{tag}{_attributes(attributes)}>{join(*children)}</{tag}>")


def void(tag: str, **attributes: object) -> Html:
    """Return an element that has no content, such as ``img``."""
    return Html(f"<{tag}{_attributes(attributes)}>")


def join(*children: object) -> Html:
    """Return children one after the other, escaped where they are not HTML; None is nothing."""
    return Html("".join(_text(child) for child in children if child is not None))


def data_uri(data: bytes, mime: str) -> str:
    """Return bytes as a ``data:`` address."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def script_json(value: Any) -> Html:
    """Return a value as JSON that is safe inside a ``script`` element; NaN becomes null."""
    return Html(json.dumps(plain(value), allow_nan=False).translate(_SCRIPT_ESCAPES))


def plain(value: Any) -> Any:
    """Return a value with every non-finite number as None, since JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def highlight(source: str) -> Html:
    """Return Python source with comments, strings, numbers and keywords in ``span`` elements."""
    parts: list[object] = []
    end = 0
    for match in _TOKEN.finditer(source):
        parts += [source[end : match.start()], element("span", match[0], class_=match.lastgroup)]
        end = match.end()
    return join(*parts, source[end:])


def _text(child: object) -> str:
    return child if isinstance(child, Html) else html.escape(str(child), quote=True)


def _attributes(attributes: dict[str, object]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )
