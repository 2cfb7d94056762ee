"""What a service answers, as an OpenAPI 3.1 document made of the limits it holds."""

from functools import cache
from typing import Any

from edgeveil.agent.inference.serving import answers, limits
from edgeveil.shared.models.manifest import Manifest

HEALTH, MODEL, DOCUMENT, METRICS = "/v1/health", "/v1/model", "/v1/openapi.json", "/metrics"
PREDICT, STREAM = "/v1/predict", "/v1/stream"
ROUTES = (HEALTH, MODEL, PREDICT, STREAM, DOCUMENT, METRICS)
KNOWN = f"POST {PREDICT} or {STREAM}; GET {HEALTH}, {MODEL}, {DOCUMENT} or {METRICS}"

_REF = "#/components/schemas/"
_NUMBER, _TEXT, _DIGEST = {"type": "number"}, {"type": "string"}, {"type": "string", "pattern": "^[0-9a-f]{64}$"}  # fmt: skip
_WHY = {
    400: "The body ends early.",
    401: "No token, or not the one of this service.",
    411: "No Content-Length, or no clear one.",
    413: "More bytes or records than one request may hold.",
    422: "No picture or recording that the model takes.",
    500: "The model failed on this input.",
}


@cache
def document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "agent serve",
            "version": "1",
            "description": "A model on this device. On a Unix socket no token is needed. Connections: at most "
            f"{limits.MOST_CONNECTIONS}; beyond, 503 without a body.",
        },
        "servers": [{"url": "http://127.0.0.1:8482"}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _paths() -> dict[str, Any]:
    bodies = {
        "image/*": {"schema": {"description": f"One picture; at most {limits.MOST_BODY} bytes, as of every body."}},
        "audio/*": {"schema": {"description": "One recording."}},
        limits.ARRAYS: {"schema": {"description": f"A file of NumPy with `X` of (n, …): at most {limits.MOST_RECORDS} records."}},
    }  # fmt: skip
    stream = (
        f"A line is at most {limits.MOST_LINE} bytes; a stream {limits.MOST_LINES} lines, {limits.MOST_STREAMED} bytes and "
        f"{limits.STREAM_S:g} s, with at most {limits.IDLE_S:g} s of silence. An answer comes as soon as it is there, in order: "
        "read while you send."
    )
    return {
        HEALTH: {"get": _operation("Whether the model answers.", {200: _json("Health"), 503: _json("Health", "The model failed on the latest record.")}, security=[])},
        MODEL: {"get": _operation("The model in use.", {200: _json("Model")}, 401)},
        PREDICT: {"post": _operation(
            "What the model says of one input, or of each record of an array.",
            {200: {"description": "Its answers.", "content": {"application/json": {"schema": {"anyOf": [_ref("Answer"), _ref("Answers")]}}}}, 503: _busy(f"More than {limits.MOST_AT_ONCE} requests at once.")},
            400, 401, 411, 413, 422, 500, requestBody={"required": True, "content": bodies},
        )},
        STREAM: {"post": _operation(
            f"An answer for each line of the body, in chunks or with Content-Length. {stream}",
            {200: {"description": "One line for each, and one more with `ended` where the stream was cut.", "content": {limits.LINES: {"schema": _ref("LineAnswer")}}}, 503: _busy(f"More than {limits.MOST_STREAMS} streams at once.")},
            401, 411, 413, requestBody={"required": True, "content": {limits.LINES: {"schema": _ref("Line")}}},
        )},
        DOCUMENT: {"get": _operation("This document.", {200: {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}}, 401)},
        METRICS: {"get": _operation("Counters for Prometheus.", {200: {"description": "OpenMetrics 1.0.", "content": {"application/openmetrics-text": {"schema": _TEXT}}}}, 401)},
    }  # fmt: skip


def _schemas() -> dict[str, Any]:
    manifest = Manifest.model_json_schema(mode="serialization", ref_template=_REF + "{model}")
    parts = manifest.pop("$defs", {})
    corners = dict.fromkeys(("x1", "y1", "x2", "y2"), _NUMBER)
    said = {
        "Class": _object({"label": _TEXT, "score": _NUMBER, "scores": {"type": "object", "additionalProperties": _NUMBER}}),
        "Boxes": _object({"boxes": {"type": "array", "items": _object({"label": _TEXT, "score": _NUMBER, **corners})}}),
        "Value": _object({"value": _NUMBER}),
        "Oddity": _object({"score": _NUMBER, "threshold": {"type": ["number", "null"]}, "anomalous": {"type": ["boolean", "null"]}}),
        "Error": _object({"error": _TEXT}),
    }  # fmt: skip
    answer = [
        _object({"model": _DIGEST, **schema["properties"]})
        for name, schema in said.items()
        if name != "Error"
    ]
    return {
        **parts,
        **said,
        "Answer": {"anyOf": answer},
        "Answers": _object({"model": _DIGEST, "predictions": {"type": "array", "items": {"anyOf": [_ref(name) for name in said]}}}),
        "Line": answers.Line.model_json_schema(),
        "LineAnswer": {"anyOf": [_ref("Answer"), _ref("Error"), _object({"ended": _TEXT})]},
        "Health": _object({"serving": {"type": "boolean"}}),
        "Manifest": manifest,
        "Model": _object({"model": _DIGEST, "signer": _DIGEST, "manifest": _ref("Manifest")}),
    }  # fmt: skip


def _operation(summary: str, found: dict[int, Any], *errors: int, **more: Any) -> dict[str, Any]:
    told = {**found, **{status: _json("Error", _WHY[status]) for status in errors}}
    return {"summary": summary, **more, "responses": {str(status): told[status] for status in sorted(told)}}  # fmt: skip


def _json(name: str, why: str = "") -> dict[str, Any]:
    return {"description": why or f"{name}.", "content": {"application/json": {"schema": _ref(name)}}}  # fmt: skip


def _busy(why: str) -> dict[str, Any]:
    after = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return {**_json("Error", why), "headers": after}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF + name}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}  # fmt: skip
