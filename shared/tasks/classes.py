"""What tasks that sort records into classes share, whatever the records are: loss, counts and figures."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeveil.shared.scores.class_scores import kept
from edgeveil.shared.scores.classification import confused, form, scores
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.tasks.spec import Reduction


class Classes:
    """Of tasks whose options have `class_names`, in the order of the indices."""

    def criterion(self, reduction: Reduction) -> nn.Module:
        """Cross-entropy; with "none" each value depends on its own record only."""
        return nn.CrossEntropyLoss(reduction=reduction)

    def tally_form(self, options: Any) -> TallyForm:
        return form(len(options.class_names))

    def tallies(self, outputs: torch.Tensor, targets: torch.Tensor, options: Any) -> Tallies:
        """Confusion counts of logits (N, K), row by row; a row of NaN counts as class 0."""
        predicted = torch.nan_to_num(outputs, nan=-torch.inf).argmax(dim=1)
        count = len(options.class_names)
        return confused(predicted.cpu().numpy(), targets.cpu().numpy(), count)

    def metrics(self, tally: NDArray[np.int64], options: Any) -> dict[str, float]:
        found = scores(_matrix(tally, options))
        return {"accuracy": found.accuracy, "macro_f1": found.macro_f1}

    def keep(self, tally: NDArray[np.int64], options: Any) -> dict[str, Any]:
        return kept(_matrix(tally, options), options.class_names)


def _matrix(tally: NDArray[np.int64], options: Any) -> NDArray[np.int64]:
    count = len(options.class_names)
    return tally.reshape(count, count)
