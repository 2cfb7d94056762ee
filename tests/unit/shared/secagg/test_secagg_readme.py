"""The README's example runs as it stands."""

import re
from pathlib import Path

from secagg_bench import Bench

from edgeveil.shared import secagg
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.secagg.server.stages import CollectAdverts, ServerSetup

README = Path(secagg.__file__).parent / "README.md"


def test_the_example_of_the_readme_gives_the_exact_sum():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    bench = Bench.of(5)
    scope = {
        "ClientSession": ClientSession,
        "CollectAdverts": CollectAdverts,
        "ServerSetup": ServerSetup,
        "ctx": bench.ctx,
        "params": bench.params,
        "members": bench.members,
        "policy": bench.policy,
        "signer": {agent.id: agent for agent in bench.agents},
        "vector": {agent.id: bench.vectors[place] for place, agent in enumerate(bench.agents)},
    }
    exec(code, scope)
    assert (scope["result"].lanes == bench.expected(scope["result"])).all()


def test_every_module_is_on_the_page():
    text = README.read_text()
    for module in README.parent.glob("*.py"):
        name = module.stem
        family = name.split("_")[0]
        assert name == "__init__" or f"`{name}`" in text or f"`{family}_*`" in text, name
