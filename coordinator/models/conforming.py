"""Whether a task's models can be packaged: the graph computes what torch does."""

from pathlib import Path

from edgeveil.coordinator.models.contents import RECORDS, output_of
from edgeveil.coordinator.models.graph import graph_of
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.models.graph import Forbidden, Wanted, check
from edgeveil.shared.tasks.conformance.subject import Broken, Subject
from edgeveil.shared.tasks.conformance.suite import CHECKS, Check
from edgeveil.shared.tasks.modules import read_vector


def packages_what_it_computes(subject: Subject, _folder: Path) -> None:
    """Tasks of other outputs than labels, boxes, numbers and scores have no packages yet."""
    task, options = subject.task, subject.options
    vector = read_vector(subject.moved(), task.tensors(options))
    try:
        graph, form = graph_of(task, options, vector)
        given = output_of(form, {})
        check(graph, Wanted(RECORDS, form.shape, given.name, given.shape))
    except ConfigError:
        return
    except (Forbidden, StateDamaged) as error:
        raise Broken(f"its model cannot be packaged: {error}") from error


CHECKS_OF_A_COORDINATOR = (*CHECKS, Check("packages what it computes", packages_what_it_computes))
