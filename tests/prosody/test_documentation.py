"""The pages say what is so: docs/conformance.md has every rule, with tests that exist, and README shows what the demo prints."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

from daemon import saslcertd_binary
from processes import REPOSITORY, clean_environment

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


@functools.cache
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


#: What is another one each time.
CHANGING = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+Z|(?<=@shakespeare\.lit/)[\w-]+|\d+\.\d(?= seconds)")
#: README leaves lines out where a line says so, and parts of a line.
LEFT_OUT = "…"


def pattern_of(shown: list[str]) -> str:
    """A regular expression for a text that has these lines, and may have more where they say so."""
    parts = []
    for line in shown:
        if line.strip() == LEFT_OUT:
            parts.append(r"(?:.*\n)+?")
        else:
            parts.append(".*".join(re.escape(part) for part in CHANGING.sub("?", line).split(LEFT_OUT)) + r"\n")
    return "".join(parts)


def test_the_readme_shows_what_the_demo_prints():
    block = (REPOSITORY / "README.md").read_text().partition("`make demo` prints this")[2].partition("\n\n")[2].partition("\n\n")[0]
    shown = [line.removeprefix("    ") for line in block.splitlines()]
    assert shown[0].startswith("3. ") and shown[-1].startswith("All went as it should"), shown
    environment = {**clean_environment(), "SASLCERTD_BINARY": str(saslcertd_binary())}
    done = subprocess.run(
        [sys.executable, "-B", str(HERE / "demo.py")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environment, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = "".join(line + "\n" for line in CHANGING.sub("?", done.stdout).splitlines() if line)
    # Line by line, so that it is said which one isn't so.
    for count in range(1, len(shown) + 1):
        found = re.search("^" + pattern_of(shown[:count]), printed, re.MULTILINE)
        assert found, f"the demo does not print: {shown[count - 1]!r}\n{printed}"
