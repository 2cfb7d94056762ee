"""What the task of a plan measures, and by which of it rounds are compared."""

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.scores.metric import MetricSpec
from edgeveil.shared.tasks import registry


def judged_by(plan: Plan) -> MetricSpec:
    """The metric that says which round is best.

    Raises:
        ConfigError: the task measures no such thing.
    """
    name, known = plan.evaluation.metric, registry.scoring(plan.task.id).metrics
    for metric in known:
        if metric.name == name:
            return metric
    raise ConfigError(
        f"plan: evaluation.metric: {name!r} is not measured by {plan.task.id} {plan.task.version}; "
        f"choose one of {', '.join(metric.name for metric in known) or 'none'}"
    )
