"""Whether a task's models can be packaged: the graph computes what torch does."""

from pathlib import Path

from edgeveil.coordinator.models.contents import LOGITS, RECORDS
from edgeveil.coordinator.models.graph import graph_of
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.models.graph import Forbidden, Wanted, check
from edgeveil.shared.tasks.conformance.subject import Broken, Subject
from edgeveil.shared.tasks.conformance.suite import CHECKS, Check
from edgeveil.shared.tasks.modules import read_vector


def packages_what_it_computes(subject: Subject, _folder: Path) -> None:
    """Tasks without classes have no packages yet."""
    task, options = subject.task, subject.options
    if task.signature(options).get("output") != "logits":
        return
    vector = read_vector(subject.moved(), task.tensors(options))
    try:
        graph, form = graph_of(task, options, vector)
        check(graph, Wanted(RECORDS, form.shape, LOGITS, (len(form.labels),)))
    except (Forbidden, StateDamaged) as error:
        raise Broken(f"its model cannot be packaged: {error}") from error


CHECKS_OF_A_COORDINATOR = (*CHECKS, Check("packages what it computes", packages_what_it_computes))
