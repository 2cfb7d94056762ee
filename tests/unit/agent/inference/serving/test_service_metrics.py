"""What a service counts: by closed lists, and nothing of what it was asked."""

import re

from models_bench import VECTORS, pictures, resigned
from service_bench import png

from edgeveil.agent.inference.serving import limits, openapi
from edgeveil.agent.inference.serving.metrics import OUTCOMES, REFUSED
from edgeveil.shared.models.package import read_package


def test_requests_answers_bytes_and_swaps_are_counted(served, tmp_path):
    picture = png(pictures(1, 8, 8)[0])
    for _ in range(3):
        served.ask("POST", "/v1/predict", picture)
    served.ask("POST", "/v1/predict", b"hello")
    served.ask("GET", "/v1/model", Authorization=None)
    served.ask("GET", "/nowhere/secret")
    served.told("POST", "/v1/stream", b"x\ny\n")
    for _ in range(limits.MOST_AT_ONCE):
        served.server.places.acquire()
    served.ask("POST", "/v1/predict", b"")
    (tmp_path / "new").write_bytes(resigned(read_package(VECTORS / "cnn.evm"), licence="another"))
    (tmp_path / "new").replace(tmp_path / "bag.evm")
    served.slot._look()
    (tmp_path / "bag.evm").write_bytes(b"no package")
    served.slot._look()
    found = {name.removeprefix("edgeveil_serving_"): float(value) for name, value in served.metrics().items()}  # fmt: skip
    assert found['requests_total{outcome="answered",route="/v1/predict"}'] == 3
    assert found['requests_total{outcome="unusable",route="/v1/predict"}'] == 1
    assert found['requests_total{outcome="busy",route="/v1/predict"}'] == 1
    assert found['requests_total{outcome="no_token",route="/v1/model"}'] == 1
    assert found['requests_total{outcome="no_route",route="other"}'] == 1
    assert found['requests_total{outcome="answered",route="/v1/stream"}'] == 1
    assert found['answers_total{outcome="answered"}'] == 3
    assert found['answers_total{outcome="unusable"}'] == 3
    assert found['answer_seconds_count{route="/v1/predict"}'] == 4
    assert found['answer_seconds_count{route="/v1/stream"}'] == 2
    assert found['bytes_total{direction="in"}'] == 3 * len(picture) + len("hello") + 2
    assert found['bytes_total{direction="out"}'] > 300
    assert (found['model_swaps_total{outcome="swapped"}'], found['model_swaps_total{outcome="kept"}']) == (1, 1)  # fmt: skip


def test_labels_come_from_closed_lists_and_nothing_is_told_of_inputs_or_paths(served, tmp_path):
    served.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0]))
    served.ask("GET", "/v1/predict?name=secret")
    served.ask("POST", '/v1/a"b\\secret', b"x")
    kind = served.told("GET", "/metrics")[1]["Content-Type"]
    text = "\n".join(served.metrics())
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    known = {"route": {*openapi.ROUTES, "other"}, "outcome": {*OUTCOMES.values(), REFUSED, "swapped", "kept"}, "direction": {"in", "out"}, "reason": {"full", "user"}}  # fmt: skip
    for name, value in re.findall(r'(\w+)="([^"]*)"', "\n".join(each for each in text.splitlines() if "_info" not in each and "_bucket" not in each)):  # fmt: skip
        assert value in known[name]
    for word in ("secret", "apple", "pear", "plum", str(tmp_path), "bag.evm"):
        assert word not in text


def test_a_scrape_needs_the_token(served):
    assert served.told("GET", "/metrics", Authorization=None)[0] == 401
