"""What an agent loads of Opacus, in a process of its own: tests in this one have loaded everything."""

import ast
import inspect
import json
import subprocess
import sys

from opacus.optimizers import optimizer

HEAVY = (
    "sympy", "scipy.stats", "torch.distributed.tensor", "torch._dynamo.eval_frame", "opacus.privacy_engine", "torchvision",
)  # fmt: skip
LOADED = f"""
import json, sys
import torch
from edgeveil.agent.training import training
from edgeveil.agent.training.engines.opacus_parts import DPOptimizer, prepare_module
from edgeveil.shared.tasks.modules import zero_linear

module = zero_linear(4, 3, bias=True)
for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
    optimizer = kind(module.parameters(), lr=0.1)
    module(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
heavy = [name for name in {HEAVY} if name in sys.modules]

from opacus import GradSampleModule, PrivacyEngine
from opacus.optimizers import AdaClipDPOptimizer
from opacus.optimizers import DPOptimizer as whole
from torch.distributed.tensor import DTensor

torch.export.export(module, (torch.ones(2, 4),))  # with torch's compiler
print(json.dumps([heavy, whole is DPOptimizer, issubclass(AdaClipDPOptimizer, DPOptimizer), DTensor.__module__]))
"""


def test_training_loads_no_more_than_it_needs_and_the_rest_can_still_be_had():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    heavy, same, beneath, module = json.loads(done.stdout)
    assert heavy == []
    assert same
    assert beneath
    assert module.startswith("torch.distributed.tensor")


def test_opacus_optimiser_names_distributed_tensors_in_annotations_alone():
    tree = ast.parse(inspect.getsource(optimizer))
    told = [
        name
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if annotation is not None
        for name in ast.walk(annotation)
    ]
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "DTensor"]
    assert named
    assert [node for node in named if node not in told] == []
    assert any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body
    )
