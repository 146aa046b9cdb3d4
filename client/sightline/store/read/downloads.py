"""Rows as files: CSV and Parquet, of the same rows, with the same columns."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Times in ISO 8601, UTC; an empty cell for None; no text that a spreadsheet takes for a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row.get(name)) for name in columns})
    return out.getvalue().encode()


def as_parquet(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """With times as time stamps in UTC, whole numbers as such, and nulls.

    Raises:
        ImportError: PyArrow is not there; the console's extra brings it along.
    """
    import pyarrow  # noqa: PLC0415  large, and the supervisor writes no files
    from pyarrow import parquet  # noqa: PLC0415

    table = pyarrow.table({name: [_value(row.get(name)) for row in rows] for name in columns})
    out = io.BytesIO()
    parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


#: By what they are called.
FORMS: Mapping[str, Callable[[Sequence[Mapping[str, Any]], Sequence[str]], bytes]] = {
    "CSV": as_csv,
    "Parquet": as_parquet,
}


def _value(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | datetime) else str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"  # a place may have any name; spreadsheets take this one for text
    return value.isoformat() if isinstance(value, datetime) else value
