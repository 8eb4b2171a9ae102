"""docs/conformance.md says what is so: every rule stands in it, with tests that exist."""

import ast
import re
from pathlib import Path

from rig import REPOSITORY

PAGE = REPOSITORY / "docs" / "conformance.md"
HERE = Path(__file__).parent

#: Every rule has a row: the number of the last one by specification.
RULES = {"257": 24, "178": 17, "4422": 6, "388": 10}

NUMBER = re.compile(r"(257|178|4422|388)-\d\d")
REFERENCE = re.compile(r"`([\w./]+)::(\w+)`")
LEVELS = {"must", "should", "may", "fact", "must (client)", "–"}


def rows() -> dict[str, list[str]]:
    """The cells behind each number."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if NUMBER.fullmatch(cells[0]):
            assert cells[0] not in found, f"{cells[0]} has two rows"
            found[cells[0]] = cells[1:]
    return found


def names_in(file: Path) -> set[str]:
    text = file.read_text()
    if file.suffix == ".py":
        return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return set(re.findall(r"#\[(?:tokio::)?test\]\s+(?:async )?fn (\w+)", text))


def file_of(reference: str) -> Path:
    return REPOSITORY / reference if "/" in reference else HERE / reference


def test_every_rule_has_a_row_with_all_cells():
    expected = {f"{specification}-{number:02}" for specification, last in RULES.items() for number in range(1, last + 1)}
    found = rows()
    assert set(found) == expected
    for number, cells in found.items():
        assert len(cells) == 4 and all(cells), f"{number}: rule, level, what we do, tests"
        assert set(cells[1].split("; ")) <= LEVELS, f"{number}: {cells[1]}"


def test_every_rule_names_its_tests_or_says_why_there_is_none():
    for number, cells in rows().items():
        assert REFERENCE.search(cells[3]) or re.match(r"none: \w", cells[3]), f"{number}: {cells[3]}"


def test_every_test_that_is_named_exists():
    for file, name in REFERENCE.findall(PAGE.read_text()):
        assert file_of(file).exists(), file
        assert name in names_in(file_of(file)), f"{file} has no test {name}"


def test_every_test_with_a_number_stands_in_its_row():
    found = rows()
    missing = []
    for file in sorted(HERE.glob("test_*.py")):
        for name in sorted(names_in(file)):
            numbered = re.match(r"test_(257|178|4422|388)_(\d\d)_", name)
            if numbered and f"`{file.name}::{name}`" not in found[f"{numbered[1]}-{numbered[2]}"][3]:
                missing.append(f"{numbered[1]}-{numbered[2]}: `{file.name}::{name}`")
    assert not missing, "not in docs/conformance.md:\n" + "\n".join(missing)
