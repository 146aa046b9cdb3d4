"""Every fault has a test, and the document says which."""

from faults.fault_table import FAULTS, PAGE, marked, table


def test_every_fault_has_a_test() -> None:
    assert {number for number, _, _ in marked()} == set(FAULTS) == {*range(1, 32)}


def test_the_document_has_the_table() -> None:
    command = "python tests/faults/fault_table.py --write"
    assert PAGE.read_text(encoding="utf-8").endswith(table()), f"run: {command}"
