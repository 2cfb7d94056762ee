"""The documentation keeps its promises: links, citations, samples, keys, codes and commands."""

import ast
import re
from pathlib import Path

import pytest
import typer.testing
from pydantic import BaseModel

from edgeveil.agent.cli import app as agent_cli
from edgeveil.agent.home.config import AgentConfig
from edgeveil.agent.home.policy import Policy
from edgeveil.coordinator.cli import app as coordinator_cli
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.plan.sections import SecaggSection
from edgeveil.shared.base.config import load
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.events.log import Event
from edgeveil.shared.privacy.filter import cap, choose_order, steps_left
from edgeveil.shared.privacy.rdp import rdp_step
from edgeveil.shared.secagg.client.policy import small_cohort_notices

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "deploy/samples").glob("*.toml"))
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "shared").rglob("*.md")]
)
FOLDERS = ("agent", "coordinator", "shared", "scripts", "tests", "deploy")
CODE = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sh", ".toml", ".md"} and path != Path(__file__)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
CITATION = re.compile(r"docs/([a-z-]+\.md)((?:(?:,|\s+and|\s+M\d[, M\d]*)?\s*\"[^\"]+\")*)")
MODELS = {
    "coordinator.toml": CoordinatorConfig,
    "plan.toml": Plan,
    "policy.toml": Policy,
    "agent.toml": AgentConfig,
}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def headings(name):
    """Every heading, and the bold words that open a paragraph or a list item."""
    text = read(f"docs/{name}")
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {*found, *re.findall(r"\*\*([^*]+?)\.?\*\*", text)}


def loaded(path):
    loaders = {
        "coordinator": lambda file: load(file, CoordinatorConfig),
        "plan": load_plan,
        "policy": Policy.load,
        "agent": lambda file: load(file, AgentConfig),
    }
    return loaders[path.name.split("-")[0]](path)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_is_accepted_by_the_loader_of_its_process(path):
    assert loaded(path)


def test_there_is_a_sample_for_every_file():
    kinds = {path.name.split("-")[0] for path in SAMPLES}
    assert kinds == {"coordinator", "plan", "policy", "agent"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_value_of_a_sample_is_explained(path):
    before = ""
    for line in path.read_text().splitlines():
        if re.match(r"[a-z_]+ = ", line):
            assert "#" in line or before.startswith("#"), f"{path.name}: {line}"
        before = line


@pytest.mark.parametrize("level", ["basic", "advanced"])
def test_the_sample_policy_admits_the_sample_plan(level):
    plan = load_plan(ROOT / f"deploy/samples/plan-{level}.toml")
    policy = Policy.load(ROOT / f"deploy/samples/policy-{level}.toml")
    proposal = training_plan(plan)
    policy.client_policy().check(secagg_params(plan, proposal, parameters=1000))
    assert proposal.noise_multiplier >= policy.sigma_min
    assert proposal.steps <= policy.steps_max
    assert proposal.clip_norm in policy.clip_norm
    assert proposal.learning_rate in policy.learning_rate
    assert proposal.delta <= policy.delta
    tasks = policy.tasks
    assert tasks == "installed" or plan.task.id in {rule.id for rule in tasks}
    order = choose_order(policy.epsilon_max, policy.delta, policy.planned)
    step = rdp_step(proposal.noise_multiplier, proposal.sample_rate, order)
    left = steps_left(0.0, step, cap(policy.epsilon_max, policy.delta, order))
    assert left >= plan.rounds.count * proposal.steps


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def citations():
    """(file, document, section or None) for every `docs/X.md` in the code; wrapped lines joined."""
    for path in CODE:
        text = re.sub(r"\n\s*#?\s*", " ", path.read_text(encoding="utf-8"))
        for document, sections in CITATION.findall(text):
            named = re.findall(r"\"([^\"]+)\"", sections)
            yield from ((path, document, section) for section in named or [None])


def test_every_cited_document_and_section_exists():
    found = list(citations())
    assert len(found) > 50
    for path, document, section in found:
        where = f"{path.relative_to(ROOT)} cites docs/{document}"
        assert (ROOT / "docs" / document).exists(), where
        assert section is None or section in headings(document), f'{where}, "{section}"'


def test_documents_cite_sections_that_exist():
    pattern = re.compile(r"\]\(([a-z-]+\.md)\),\s+\"([^\"]+)\"")
    for path in (ROOT / "docs").glob("*.md"):
        for document, section in pattern.findall(path.read_text(encoding="utf-8")):
            assert section in headings(document), f'{path.name} cites {document}, "{section}"'


def test_every_test_named_in_the_threat_model_exists():
    named = re.findall(r"`([a-z_/0-9]+\.py)::(test_\w+)`", read("docs/threat-model.md"))
    assert len(named) > 40
    for file, name in named:
        path = ROOT / "tests" / file
        assert path.exists(), file
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        functions |= {n.name for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef)}
        assert name in functions, f"{file}::{name}"


def sections(model):
    """The model and every model inside it, tuples, tables and alternatives included."""
    yield model
    for field in model.model_fields.values():
        for kind in nested(field.annotation):
            yield from sections(kind)


def nested(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in nested(part)]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_key_of_every_file_is_explained(name):
    text = read("docs/configuration.md")
    part = text.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
    for model in sections(MODELS[name]):
        for key in model.model_fields:
            assert f"`{key}`" in part or f"[{key}]" in part, f"{name}: {model.__name__}.{key}"


def test_no_section_of_the_configuration_names_a_key_that_does_not_exist():
    text = read("docs/configuration.md")
    for name, model in MODELS.items():
        part = text.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        known = {key for kind in sections(model) for key in kind.model_fields}
        for cell in re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE):
            for key in re.findall(r"`([a-z_]+)`", cell):
                assert key in known, f"{name}: {key}"


def test_the_table_of_exit_codes_is_the_list_in_the_code():
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", read("docs/operating.md"), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(int(c), c.name) for c in ExitCode]


def test_the_operating_page_lists_exactly_the_events_of_the_log():
    logs = read("docs/operating.md").split("\nEvents: ", 1)[1].split(" The list is closed", 1)[0]
    assert logs.rstrip(".").split() == [event.value for event in Event]


def test_the_protocol_lists_exactly_the_refusals_of_the_wire():
    text = read("docs/protocol.md").split("Refusals on the wire are one of:", 1)[1]
    assert text.split(". TIMEOUT", 1)[0].split() == [code.value for code in RefusalCode]


def test_every_label_in_the_code_is_in_the_protocol():
    listed = read("docs/protocol.md").split("Labels with the prefix", 1)[1].split("\n\n", 1)[0]
    words = set(re.findall(r"[a-z0-9-]+", listed))
    pattern = re.compile(r"(?:canon|digest|parse)\(\s*\"([a-z0-9-]+)\"|derive\(.*?\"([a-z-]+)\"")
    used = {
        a or b
        for folder in ("agent", "coordinator", "shared")
        for path in (ROOT / folder).rglob("*.py")
        for a, b in pattern.findall(path.read_text())
    }
    assert len(used) > 30
    assert used <= words, used - words


def commands(app, name=""):
    """(path, click command) of every command that does something."""
    found = typer.main.get_command(app)

    def walk(command, path):
        children = getattr(command, "commands", {})
        if not children:
            yield path, command
        for child_name, child in children.items():
            yield from walk(child, f"{path} {child_name}".strip())

    return list(walk(found, name))


ALL = [*commands(coordinator_cli.app, "coordinator"), *commands(agent_cli.app, "agent")]


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_shows_an_example_of_itself(path, command):
    examples = [
        line.strip() for line in command.help.splitlines() if line.strip().startswith("Example:")
    ]
    assert len(examples) == 1
    assert examples[0].removeprefix("Example:").strip().startswith(path)


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_is_on_the_operating_page(path, command):
    assert f"| `{path.split(' ', 1)[1]}" in read("docs/operating.md")


@pytest.mark.parametrize("app", [coordinator_cli.app, agent_cli.app])
def test_help_is_printed_without_an_error(app):
    assert typer.testing.CliRunner().invoke(app, ["--help"]).exit_code == 0


def test_the_licence_is_the_unmodified_text():
    text = read("LICENSE")
    assert text.lstrip().startswith("Apache License\n")
    assert "Copyright [yyyy] [name of copyright owner]" in text
    assert len(text.splitlines()) == 202


@pytest.mark.parametrize("app", [coordinator_cli.app, agent_cli.app])
def test_no_help_holds_a_backslash(app):
    shown = {path: _help(app, path) for path, _ in commands(app)}
    assert any("[required]" in text for text in shown.values())
    assert [path for path, text in shown.items() if "\\" in text] == []


def _help(app, path):
    return typer.testing.CliRunner().invoke(app, [*path.split(), "--help"]).output


def test_the_readme_says_of_losses_what_the_doctor_says():
    (sentence,) = re.findall(r"Three agents tolerate[^.]*\.md", " ".join(read("README.md").split()))
    notices = {n: " ".join(small_cohort_notices(n, SecaggSection().c_min)) for n in (3, 4, 5)}
    assert "tolerates no loss: if one agent" in notices[3]
    assert "tolerates no loss after its adverts; five do" in notices[4]
    assert notices[5] == ""
    assert sentence.startswith("Three agents tolerate no loss, four none after its advert, five do")


def test_the_readme_leads_to_every_page():
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages - set(LINK.findall(read("README.md"))) == set()


@pytest.mark.parametrize(("app", "command"), [(agent_cli.app, "run"), (coordinator_cli.app, "plan new")])  # fmt: skip
def test_the_help_of_data_names_what_else_than_pictures_can_be_given(app, command):
    told = typer.testing.CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    for kind in ("recordings", "boxes", "schema.toml", "moments"):
        assert kind in told, kind
