import re
from pathlib import Path

from edgeveil.shared.data.tabular.layout import Layout

PAGE = Path(__file__).resolve().parents[5] / "docs" / "data.md"


def test_the_schema_on_the_page_about_data_is_one(tmp_path):
    (block,) = re.findall(r"```toml\n# schema.toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "schema.toml").write_text(block)
    found = Layout.load(tmp_path)
    assert (found.window, found.step, found.gap, found.labels) == (100, 100, 0.5, ("walk", "run"))
    assert set(re.findall(r"^(\w+) =", block, re.MULTILINE)) - {"labels"} <= {
        *Layout.model_fields, *type(found.columns[0]).model_fields,
    }  # fmt: skip
