"""The document of a service: OpenAPI 3.1, and true of every answer that the service gives."""

import base64
import json

import jsonschema
import pytest
from models_bench import VECTORS, pictures
from openapi_spec_validator import validate
from service_bench import npz, png

from edgeveil.agent.inference.inputs import Item
from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import answers, limits, openapi
from edgeveil.agent.inference.values.numbers import Number, Oddity
from edgeveil.shared.models import known_answer

DOCUMENT = openapi.document()


def holds(method, path, status, kind, value):
    """Raises unless the document allows this answer of this route."""
    content = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"]
    schema = content[kind.partition(";")[0]]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)  # fmt: skip


def test_the_document_is_openapi():
    validate(DOCUMENT)


def test_every_answer_of_every_route_is_as_the_document_says(served, monkeypatch):
    picture, rows = png(pictures(1, 8, 8)[0]), pictures(2, 8, 8) / 255
    rows[1, 0, 0] = 2
    lines = b"{}\n" + json.dumps({"file": base64.b64encode(picture).decode()}).encode()
    monkeypatch.setattr(limits, "MOST_RECORDS", 2)
    asked = [
        ("get", openapi.HEALTH, None, {}, 200),
        ("get", openapi.MODEL, None, {}, 200),
        ("get", openapi.MODEL, None, {"Authorization": None}, 401),
        ("get", openapi.DOCUMENT, None, {}, 200),
        ("get", openapi.METRICS, None, {}, 200),
        ("post", openapi.PREDICT, picture, {}, 200),
        ("post", openapi.PREDICT, npz(rows), {"Content_Type": limits.ARRAYS}, 200),
        ("post", openapi.PREDICT, npz(pictures(3, 8, 8)), {"Content_Type": limits.ARRAYS}, 413),
        ("post", openapi.PREDICT, None, {"Content_Length": "-1"}, 411),
        ("post", openapi.PREDICT, b"hello", {}, 422),
        ("post", openapi.STREAM, lines, {}, 200),
        ("post", openapi.STREAM, None, {"Content_Length": "9" * 12}, 413),
    ]
    for method, path, body, headers, wanted in asked:
        status, found, data = served.told(method.upper(), path, body, **headers)
        assert status == wanted, (path, data)
        kind = found["Content-Type"]
        values = data.decode().splitlines() if kind == limits.LINES else [data]
        for value in values:
            holds(method, path, status, kind, json.loads(value) if "json" in kind else value.decode())  # fmt: skip
    assert {path for _, path, *_ in asked} == set(DOCUMENT["paths"]) == set(openapi.ROUTES)
    with pytest.raises(jsonschema.ValidationError):
        holds("get", openapi.HEALTH, 200, "application/json", {"serving": True, "model": "bag"})


@pytest.mark.parametrize("said", [Number(0.5), Oddity(1.5, None), Oddity(1.5, 1.0)])
def test_what_models_without_labels_say_is_in_the_document(said, monkeypatch):
    opened = open_model(VECTORS / "cnn.evm")
    monkeypatch.setattr(opened, "said", lambda *_: [said])
    found = answers.answer(opened, Item("x", known_answer.records(opened.input)[0]))
    holds("post", openapi.PREDICT, 200, "application/json", {"model": opened.digest, **found})


def test_the_limits_in_the_document_are_those_that_hold():
    text = json.dumps(DOCUMENT)
    for name in ("MOST_BODY", "MOST_AT_ONCE", "MOST_CONNECTIONS", "MOST_RECORDS", "MOST_STREAMS", "MOST_LINES", "MOST_LINE", "MOST_STREAMED"):  # fmt: skip
        assert f"{getattr(limits, name)}" in text
    assert text.count("#/components/schemas/") > 20
    for name in set(json.dumps(DOCUMENT).split("#/components/schemas/")[1:]):
        assert name.partition('"')[0] in DOCUMENT["components"]["schemas"]
