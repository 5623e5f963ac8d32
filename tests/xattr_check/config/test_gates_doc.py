"""docs/gates.md says every key, and its example is one."""

import re
from pathlib import Path

from xattr_check.config.xattr_yaml import FILE_KEYS, read
from xattr_check.statistics.gate import Beats

GATES = (Path(__file__).parents[3] / "docs" / "gates.md").read_text()


def test_every_key_has_its_row() -> None:
    rows = "\n".join(line.split("|")[1] for line in GATES.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == FILE_KEYS


def test_the_example_can_be_read(tmp_path: Path) -> None:
    example, accepted, several = re.findall(r"```yaml\n(.*?)```", GATES, re.S)
    (tmp_path / "xattr.yaml").write_text(example)
    found = read(tmp_path / "xattr.yaml")
    assert sorted(found.gates) == ["cost", "deletion"]
    (tmp_path / "xattr.yaml").write_text(accepted)
    entry = read(tmp_path / "xattr.yaml").expected_failures["mymod:explain"]["null_feature"]
    assert (entry.reason, entry.interval) == ("", (0.4235, 0.6226))
    (tmp_path / "xattr.yaml").write_text(several)
    assert read(tmp_path / "xattr.yaml").on("mymod:make_subject").gates["deletion"] == Beats(0.3)
    assert found.compare_fail == "p<0.01 and worse>5%, any:pass->fail"
