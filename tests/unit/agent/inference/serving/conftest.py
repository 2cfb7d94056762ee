import shutil

import pytest
from models_bench import VECTORS
from service_bench import Served


@pytest.fixture
def served(tmp_path):
    shutil.copy(VECTORS / "cnn.evm", tmp_path / "bag.evm")
    made = Served(tmp_path / "bag.evm")
    yield made
    made.close()
