"""The OpenAPI document, against the routes and their answers."""

from __future__ import annotations

import os

import pytest
import schemathesis
from gateway_server import serving
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from planner.gateway.app import make_gateway
from planner.gateway.openapi import document

UNTOLD = {"/docs", "/openapi.json"}
OF_THE_PAGE = ("/page/", "/static")  # no interface for programs: it changes with the page
EXAMPLES = int(os.environ.get("LADLE_TEST_OPENAPI_EXAMPLES", "5"))  # for each operation
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
UNAVAILABLE = {501, 503}  # the document says so: no masks and variations; and jobs whose deadline passes


def test_each_route_is_told_with_its_methods(settings):
    routes = {}
    for route in make_gateway(settings).routes:
        if route.path not in UNTOLD and not route.path.startswith(OF_THE_PAGE):
            methods = {"POST"} if route.methods is None else route.methods - {"HEAD"}
            routes.setdefault(route.path.replace(":path", ""), set()).update(methods)
    told = document(settings)["paths"]
    assert {path: {method.upper() for method in methods} for path, methods in told.items()} == routes


def test_the_document_is_one_of_openapi(settings):
    schemathesis.openapi.from_dict(document(settings)).validate()


@pytest.fixture(scope="module")
def small_gateway(site):
    """One whose largest request is drawn at once."""
    small = {"max_images": 2, "max_image_steps": 4, "max_megapixels": 0.05}
    with serving(site.settings, **small, http_timeout_s=20.0) as gateway:
        yield gateway


@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_is_asked_the_answer_is_as_the_document_says(small_gateway, mode):
    schema = schemathesis.openapi.from_url(f"{small_gateway.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode.is_positive or operation.body:  # of a bare path nothing can be wrong
            ask_many(operation, mode)


def ask_many(operation, mode):
    @hypothesis_settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        response = case.call()
        case.validate_response(response, checks=CHECKS[response.status_code in UNAVAILABLE :])

    ask()
