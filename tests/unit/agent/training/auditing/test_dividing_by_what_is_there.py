"""opacus#819: a divisor that follows the number of records tells it; ours is public (the attack: divisor_bench)."""

import pytest
from divisor_bench import SIGMA, ours, stock, told_apart

from edgeveil.shared.privacy.gaussian import epsilon_of


def test_stock_opacus_tells_six_records_from_five_whatever_the_noise():
    """Three batches of six records have two on average and of five floor(5/3) = 1: the noise differs twofold."""
    assert epsilon_of(1 / SIGMA, 1e-5) < 0.1, "what that noise promises without sampling"
    assert told_apart(stock) == 1.0


def test_our_public_divisor_tells_nothing():
    """Right by chance in 20 of 40, standard deviation 3.2."""
    assert told_apart(ours) == pytest.approx(0.5, abs=0.35)
