"""What can be asked of `agent serve`, as OpenAPI 3.1; its bounds are those that are kept (limits.py)."""

from typing import Any

from edgeveil.agent.inference.runtime import Model
from edgeveil.agent.inference.serving import limits
from edgeveil.agent.inference.serving.answers import Line

VERSION = "1"
_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}


def of_model(model: Model) -> dict[str, Any]:
    """What GET /v1/model says."""
    told = model.manifest.model_dump(mode="json")
    return {"model": model.digest, "signer": model.signer.hex(), "manifest": told}


def description() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgeveil agent serve",
            "version": VERSION,
            "description": "A model on this device. Nothing of a request is written down.",
        },
        "servers": [{"url": "http://127.0.0.1:8482"}],
        "security": [{"token": []}],
        "paths": {
            "/v1/predict": {"post": _predict()},
            "/v1/stream": {"post": _stream()},
            "/v1/model": {"get": _get("The model in use, and its manifest", _ref("Served"))},
            "/v1/health": {"get": _get("Whether a model serves", _ref("Health"), token=False)},
            "/v1/openapi.json": {"get": _get("This description", {"type": "object"}, token=False)},
            "/metrics": {
                "get": {
                    **_get("Counts and times, for Prometheus", {}),
                    "responses": {
                        "200": _said("OpenMetrics text", "application/openmetrics-text", _TEXT),
                        "401": _refusal("no token"),
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "It lies in serve.token of the state folder; a Unix socket asks for none.",
                }
            },
            "schemas": _schemas(),
        },
    }


def _predict() -> dict[str, Any]:
    sizes = f"at most {limits.MOST_BODY} bytes"
    return {
        "summary": "What the model says of a file, or of each record of an .npz file",
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {**_BINARY, "description": f"A picture or a recording, {sizes}"}},
                limits.ARRAYS: {"schema": {**_BINARY, "description": f"`X`: at most {limits.MOST_RECORDS} records, {sizes}"}},
            },
        },
        "responses": {
            "200": _said("An answer, or `predictions` of an .npz file", "application/json", {"anyOf": [_ref("Answered"), _ref("Predictions")]}),
            "400": _refusal("the body ends early"),
            "401": _refusal("no token"),
            "411": _refusal("no length"),
            "413": _refusal("too many bytes or records"),
            "422": _refusal("not a record of this model"),
            "503": _busy(f"more than {limits.MOST_AT_ONCE} requests at once"),
        },
    }  # fmt: skip


def _stream() -> dict[str, Any]:
    return {
        "summary": "Records one after the other, each answered as soon as it has come",
        "description": (
            f"The body is lines of JSON of at most {limits.MOST_LINE} bytes, in chunks or with a length; so is the answer, a "
            f"line for each. A connection that sends no whole line for {limits.QUIET_S:g} s is closed. A newer model answers "
            "from the next line on."
        ),
        "requestBody": {"required": True, "content": {limits.LINES: {"schema": _ref("Line")}}},
        "responses": {
            "200": _said("A line for each", limits.LINES, {"anyOf": [_ref("Streamed"), _ref("Refusal")]}),
            "401": _refusal("no token"),
            "411": _refusal("neither length nor chunks"),
            "413": _refusal("too long"),
            "503": _busy(f"more than {limits.MOST_AT_ONCE} streams at once"),
            "505": _refusal("HTTP/1.0"),
        },
    }  # fmt: skip


def _schemas() -> dict[str, Any]:
    model = {"model": _DIGEST}
    kinds = [_ref(name) for name in ("Label", "Boxes", "Value", "Anomaly")]
    return {
        "Line": Line.model_json_schema(),
        "Label": _object(label=_TEXT, score=_NUMBER, scores={"type": "object", "additionalProperties": _NUMBER}),
        "Box": _object(label=_TEXT, score=_NUMBER, x1=_NUMBER, y1=_NUMBER, x2=_NUMBER, y2=_NUMBER),
        "Boxes": _object(boxes={"type": "array", "items": _ref("Box")}),
        "Value": _object(value=_NUMBER),
        "Anomaly": _object(score=_NUMBER, threshold={"type": ["number", "null"]}, anomalous={"type": ["boolean", "null"]}),
        "Refusal": _object(error=_TEXT),
        "Answered": {"allOf": [_object(**model), {"anyOf": kinds}]},
        "Streamed": {"allOf": [_object(**model, id=_TEXT), {"anyOf": [*kinds, _ref("Refusal")]}]},
        "Predictions": _object(**model, predictions={"type": "array", "items": {"anyOf": [*kinds, _ref("Refusal")]}}),
        "Served": _object(**model, signer=_DIGEST, manifest={"type": "object"}),
        "Health": _object(status={"const": "serving"}),
    }  # fmt: skip


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _said(what: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {kind: {"schema": schema}}}


def _refusal(why: str) -> dict[str, Any]:
    return _said(why, "application/json", _ref("Refusal"))


def _busy(why: str) -> dict[str, Any]:
    again = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return {**_refusal(why), "headers": again}


def _get(what: str, schema: dict[str, Any], *, token: bool = True) -> dict[str, Any]:
    refused = {"401": _refusal("no token")} if token else {}
    made = {
        "summary": what,
        "responses": {"200": _said(what, "application/json", schema), **refused},
    }
    return made if token else {**made, "security": []}
