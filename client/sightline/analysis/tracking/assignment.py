"""Optimal one-to-one assignment, small enough to live in every worker.

Shortest augmenting paths with dual prices (Jonker and Volgenant, without their initialisation by
reduction transfer). scipy's solver is as exact, but its import costs each worker some 45 MB.
"""

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Index = NDArray[np.intp]


def assign(cost: NDArray[np.floating], limit: float) -> tuple[Index, Index]:
    """The pairs (row, column) that minimise the sum of ``cost - limit``; pairing is optional.

    Args:
        cost: [R, C], finite or +inf.
        limit: a pair that costs this much or more is never made.

    Returns:
        rows int [M] ascending and columns int [M], one entry a pair.
    """
    # A pair that is too dear counts as no gain, which is what staying alone counts.
    gain = np.minimum(np.subtract(cost, limit, dtype=np.float64), 0.0)
    if not gain.size:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    rows = np.flatnonzero(gain.min(axis=1))
    columns = gain.argmin(axis=1)[rows]
    # Where every row can have what it likes best, that is it: most of a camera's frames.
    if len(set(columns.tolist())) == len(rows):
        return rows, columns
    columns = np.flatnonzero(gain.min(axis=0))
    gain = gain[np.ix_(rows, columns)]
    if len(rows) <= len(columns):
        chosen, taken = np.arange(len(rows)), _solve(gain)
    else:
        chosen = _solve(gain.T)
        taken = np.argsort(chosen)
        chosen = chosen[taken]
    real = gain[chosen, taken] < 0
    return rows[chosen[real]], columns[taken[real]]


def _solve(cost: F64) -> Index:
    """The column of every row in the cheapest complete assignment of ``cost`` [R, C], R <= C."""
    row_of_column = np.full(cost.shape[1], -1)
    # A row takes its cheapest column where that is still free.
    cheapest = cost.argmin(axis=1)
    first_of = {column: row for row, column in reversed([*enumerate(cheapest.tolist())])}
    row_of_column[list(first_of)] = list(first_of.values())
    column_of_row = np.where(row_of_column[cheapest] == np.arange(len(cost)), cheapest, -1)
    row_price = cost.min(axis=1)
    column_price = np.zeros(cost.shape[1])
    for start in np.flatnonzero(column_of_row < 0).tolist():
        # Give it a column by the cheapest alternating path.
        shortest = np.full(cost.shape[1], np.inf)
        open_columns = np.zeros(cost.shape[1])  # +inf where closed, so that argmin passes over them
        came_from = np.zeros(cost.shape[1], np.intp)
        row, length = start, 0.0
        others: list[int] = []
        while True:
            reach = (length - row_price[row]) + cost[row] - column_price
            better = reach + open_columns < shortest
            shortest[better] = reach[better]
            came_from[better] = row
            column = int((shortest + open_columns).argmin())
            length = float(shortest[column])
            if row_of_column[column] < 0:
                break
            open_columns[column] = np.inf
            row = int(row_of_column[column])
            others.append(row)
        closed = np.isinf(open_columns)
        row_price[start] += length
        row_price[others] += length - shortest[column_of_row[others]]
        column_price[closed] -= length - shortest[closed]
        while column >= 0:  # back along the path; the start had none before
            row = int(came_from[column])
            row_of_column[column] = row
            column_of_row[row], column = column, int(column_of_row[row])
    return column_of_row
