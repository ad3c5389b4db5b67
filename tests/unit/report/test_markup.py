from __future__ import annotations

import html
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from triptych.report.markup import (
    Html,
    data_uri,
    element,
    highlight,
    join,
    script_json,
)


@given(st.text())
def test_text_and_attributes_are_escaped_and_come_back(text):
    made = element("p", text, title=text)
    attribute, inside = re.fullmatch(r'<p title="([^"]*)">([^<>]*)</p>', made, re.DOTALL).groups()
    assert html.unescape(attribute) == html.unescape(html.escape(text))
    assert html.unescape(inside) == html.unescape(html.escape(text))


def test_html_is_not_escaped_twice_and_none_is_nothing():
    assert element("p", element("b", "&"), None, 3) == "<p><b>&amp;</b>3</p>"
    assert join(Html("<hr>"), "<hr>") == "<hr>&lt;hr&gt;"


def test_attribute_names():
    made = element("a", class_="x", aria_label="y", id=None)
    assert made == '<a class="x" aria-label="y"></a>'


@given(st.recursive(st.text() | st.floats() | st.none(), st.lists, max_leaves=8))
def test_script_json_cannot_leave_its_element(value):
    made = script_json({"value": value})
    assert not set("<>&\u2028\u2029") & set(made)
    json.loads(made)


def test_script_json_keeps_values_and_has_no_nan():
    value = {"</script><!--": [1.5, float("nan"), float("inf"), "\u2028&"]}
    assert json.loads(script_json(value)) == {"</script><!--": [1.5, None, None, "\u2028&"]}


@given(st.text(alphabet="ab1 .'\"#\n\\<&>_def"))
def test_highlight_never_changes_the_source(source):
    assert html.unescape(re.sub("</?span[^>]*>", "", highlight(source))) == html.unescape(
        html.escape(source)
    )


def test_highlight_marks_what_python_has():
    made = highlight("def f(x1):  # sum\n    return x1 + 2.5e-3, 'a # b'")
    assert re.findall(r'<span class="(\w+)">(.*?)</span>', made) == [
        ("keyword", "def"),
        ("comment", "# sum"),
        ("keyword", "return"),
        ("number", "2.5e-3"),
        ("string", "&#x27;a # b&#x27;"),
    ]


def test_data_uri():
    assert data_uri(b"abc", "image/webp") == "data:image/webp;base64,YWJj"
