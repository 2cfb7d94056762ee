"""Whether a model that arrived is put to use: what the owner allows, its self-test, and the owner's own records.

Each answer is a note for the owner, and stays on this device. A model that does not pass is kept beside the
one in use, which stays in use until then and whenever anything here fails.
"""

from collections.abc import Callable
from pathlib import Path

from edgeveil.agent.delivery.confirmed import in_force
from edgeveil.agent.delivery.kept import Kept, KeptModels
from edgeveil.agent.delivery.threshold import carry
from edgeveil.agent.home.config import known_data
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.inference.evaluation import evaluate
from edgeveil.agent.inference.runtime import Model, open_model
from edgeveil.shared.base.errors import EdgeveilError, ModelError, ModelUntrusted
from edgeveil.shared.models.given import OddOutput
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.package import parse_package, read_bytes, read_package

Say = Callable[[str], None]


def receive(home: Path, kept: Kept) -> str:
    """Check a fetched model and put it to use; "" or the note why it is not used.

    Raises:
        ConfigError, StateDamaged, StorageFailed: the home itself; the model in use stays.
        ModuleNotFoundError: no runtime is installed.
    """
    models = KeptModels(home)
    try:
        note = _judge(home, models, kept)
    except ModelError as error:
        note = error.message
    if note:
        models.refuse(kept.model, note)
    else:
        carry(home, models.index().in_use, models.path(kept.model), kept.signer)
        models.use(kept.model)
    return note


def tried(home: Path, kept: Kept) -> Model:
    """A kept model, opened and its self-test passed; raises ModelError."""
    model = open_model(KeptModels(home).path(kept.model), trust=kept.signer, threads=1)
    model.check_itself()
    return model


def take_file(home: Path, file: Path, trust: str | None, *, older: bool) -> tuple[Kept, str]:
    """Keep a package file of the owner's, its self-test passed; with what is to be said of its signer.

    Raises:
        ModelError: it cannot be used, or is older than the model in use and `older` is false.
        ModelUntrusted: --trust, or the coordinator that this device has joined, did not sign it.
    """
    data = read_bytes(file)
    model = open_model(file, trust=trust, home=home)
    model.check_itself()
    models = KeptModels(home)
    package = parse_package(data)
    if package.digest != model.digest:
        raise ModelError(f"{file}: changed while it was read; try again")
    index, manifest = models.index(), package.manifest
    in_use = index.find(index.in_use)
    if in_use is not None and not older and manifest.origin.finished < in_use.finished:
        raise ModelError(f"{file}: older than the model in use; --older takes it all the same, agent model rollback goes back")  # fmt: skip
    return models.add(package, data, vouched=not model.notice), model.notice


def open_in_use(home: Path, *, trust: str | None, threads: int, say: Say) -> Model:
    """The model in use, or the one before it where that one's file is damaged: it is then in use again.

    Raises:
        ConfigError: there is none.
        ModelError: neither can be used.
        ModelUntrusted: nothing vouches for its signer, or --trust names another.
    """
    models = KeptModels(home)
    kept = models.in_use()
    try:
        return _opened(models, kept, trust, threads)
    except ModelUntrusted:
        raise
    except ModelError as error:
        if models.index().before is None:
            raise
        kept = models.roll_back(error.message)
        say(f"{error.message}; the model from before, {kept.model[:12]}, is in use again")
        return _opened(models, kept, trust, threads)


def _opened(models: KeptModels, kept: Kept, trust: str | None, threads: int) -> Model:
    if trust is None and not kept.vouched:
        raise ModelUntrusted(
            f"the model in use is signed by {kept.signer}, whom nothing here vouches for; "
            f"if that is meant, name the key: --trust {kept.signer}"
        )
    path, home = models.path(kept.model), models.folder.parent  # where its threshold is kept
    return open_model(path, trust=trust or kept.signer, home=home, threads=threads)


def _judge(home: Path, models: KeptModels, kept: Kept) -> str:
    """The note, "" if all is well; raises ModelError."""
    model, allowed = tried(home, kept), in_force(home)
    if not all(_allowed(policy, model.manifest) for policy in allowed.policies):
        return f"policy.toml allows no task {kept.task}"
    index = models.index()
    in_use = index.find(index.in_use)
    if in_use is None or in_use.model == kept.model:
        return ""
    path, data = models.path(in_use.model), known_data(home)
    try:
        if _form(read_package(path).manifest) != _form(model.manifest):
            return (
                "its task, its input or its labels are others than those of the model in use; if that is "
                f"meant: agent model use {kept.model[:12]}"
            )
        if data is None:
            return ""
        now = open_model(path, trust=in_use.signer, threads=1)
    except ModelError:
        return ""  # the new one is the better of the two
    return _compared(data, model, now, allowed.worse_max)


def _compared(data: Path, model: Model, now: Model, worse_max: float) -> str:
    """On the owner's records, if there are any that both models take."""
    try:
        new, old = (evaluate(each, data, quiet=True).right for each in (model, now))
    except EdgeveilError:
        return ""  # nothing to compare on
    if new < old - worse_max:
        return f"it is right on {new:.0%} of this device's own records, the model in use on {old:.0%}"  # fmt: skip
    return ""


def _form(manifest: Manifest) -> tuple[object, ...]:
    """Without what differs from round to round."""
    given = manifest.output
    if isinstance(given, OddOutput):
        given = given.model_copy(update={"threshold": None})
    return manifest.task.id, manifest.input, given


def _allowed(policy: Policy, manifest: Manifest) -> bool:
    """Whether the owner's list of tasks has the one that trained it."""
    if isinstance(policy.tasks, str):
        return True
    task = manifest.task
    return any(
        (rule.id, rule.version) == (task.id, task.version)
        and rule.hash in {None, task.hash}
        and (rule.variants is None or task.options.get("variant") in rule.variants)
        for rule in policy.tasks
    )
