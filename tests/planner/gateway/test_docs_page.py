"""The page at /docs."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from gateway_server import serving

from planner.gateway.docs_page import page
from planner.gateway.openapi import document


class Tags(HTMLParser):
    """All tags of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_names_every_operation_and_loads_nothing(settings):
    with serving(settings, http_keys="always") as gateway:
        answer = gateway.ask("/docs")
        told = gateway.ask("/openapi.json").json
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/html")
    for path, methods in told["paths"].items():
        for method in methods:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in text
    tags = Tags(text).found
    assert {tag for tag, _ in tags} & {"script", "link", "img", "iframe"} == set()
    assert [attributes["href"] for tag, attributes in tags if tag == "a"] == ["openapi.json"]
    assert not re.search(r"url\(|@import", text)


def test_what_the_document_says_is_shown_as_text(settings):
    told = document(settings)
    told["info"]["title"] = "<script>x</script>"
    assert "<script>" not in page(told)
