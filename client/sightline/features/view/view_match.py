"""How a look lies on a reference: where it agrees, where detail is lost, how far it has shifted."""

from dataclasses import dataclass

import numpy as np

from sightline.entities import F32
from sightline.features.view.grey_look import C64, Mask, cell_means, edges_of, halved

#: Levels a pixel, root mean square: a cell with stronger edges can be found again, one with weaker ones shows
#: nothing; and edges do not count for more than that.
TEXTURED, PLAIN, STRONG = 0.6, 0.5, 3.0
MIN_CELLS = 6  # as many textured cells a view needs before it can be told from another
SAME = 0.4  # correlation of the edges of a cell that shows the same
LOST = 0.3  # of the strength of its edges that a cell has, or less: it shows nothing
REACH = 0.6  # of the picture's sides that a shift is looked for
MIN_OVERLAP = 0.25  # of all edges that both must have in common there, or it counts for less
_NEAR_PX = 1  # at 80 pixels: as near a shift is none
UNMOVED = 0.8  # of the best shift's correlation
CLEAR = 0.4  # correlation of a part's shift


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two pictures of the same size, by the cells in which the first has something to see."""

    strength: F32  # float32 [rows, columns], of the edges by which a cell is compared; 0: it is not
    share: float  # of those edges, that which shows the same
    lost: float  # that whose detail is gone
    correlation: float  # of all edges, -1..1

    @property
    def cells(self) -> int:
        """How many can be compared."""
        return int(np.count_nonzero(self.strength))


def agreement(before: C64, now: C64, known: Mask) -> Agreement:
    """Compare edges, cell by cell, where both are known."""
    is_known = known.astype(np.float32)
    seen = np.maximum(cell_means(is_known), 1e-3)
    strength, found = (cell_means(np.abs(edges) ** 2 * is_known) / seen for edges in (before, now))
    product = cell_means((before * now.conj()).real * is_known) / seen
    textured = (strength >= TEXTURED**2) & (seen >= 0.5)
    noise = (TEXTURED / 4) ** 2
    same = product >= SAME * np.sqrt((strength + noise) * (found + noise))
    lost = ~same & (found <= np.maximum(LOST**2 * strength, PLAIN**2))
    strengths = np.sqrt(strength) * textured
    weights = np.minimum(strengths, STRONG) / max(float(np.minimum(strengths, STRONG).sum()), 1e-3)
    whole = float(product.sum() / (np.sqrt(float(strength.sum()) * float(found.sum())) + noise))
    return Agreement(strengths, float(weights[same].sum()), float(weights[lost].sum()), whole)


def alike_from_afar(before: F32, now: F32) -> float:
    """Correlation of two grey pictures at 20 pixels: high where one is the other out of focus."""
    small = [halved(halved(halved(grey))) for grey in (before, now)]
    first, second = (grey - grey.mean() for grey in small)
    return float((first * second).sum() / max(float(np.sqrt((first**2).sum() * (second**2).sum())), 1.0))


@dataclass(frozen=True, slots=True)
class Shift:
    """Where what the first picture shows is in the second, in shares of its width and height."""

    x: float
    y: float
    score: float  # correlation there, 0..1
    unmoved: float  # the same where nothing has shifted

    @property
    def is_none(self) -> bool:
        """Whether no other shift fits clearly better than none."""
        return self.unmoved >= UNMOVED * self.score


def find_shift(before: F32, now: F32, known: Mask) -> Shift:
    """The shift at which two grey pictures agree best, of all that leave enough in common."""
    mask = halved(known.astype(np.float32)) == 1
    first, second = (edges_of(halved(grey)) for grey in (before, now))
    first = first * mask
    rows, columns = first.shape
    room = (2 * rows, 2 * columns)
    transformed = [
        np.fft.fft2(part, room) for part in (first, second, np.abs(first) ** 2, np.abs(second) ** 2)
    ]
    all_of, every = np.fft.fft2(np.ones((rows, columns)), room), np.fft.fft2(mask.astype(float), room)
    cross = np.fft.ifft2(transformed[0].conj() * transformed[1]).real
    own = np.fft.ifft2(transformed[2].conj() * all_of).real
    other = np.fft.ifft2(every.conj() * transformed[3]).real
    least = MIN_OVERLAP * own.max() + 1e-3
    scores = cross / np.sqrt(np.maximum(own, least) * np.maximum(other, least))
    down, across = (np.fft.fftfreq(size, 1 / size) for size in room)
    allowed = (np.abs(down) <= REACH * rows)[:, None] & (np.abs(across) <= REACH * columns)
    scores = np.where(allowed, scores, -1.0)
    near = (np.abs(down) <= _NEAR_PX)[:, None] & (np.abs(across) <= _NEAR_PX)
    best = np.unravel_index(int(scores.argmax()), scores.shape)
    x, y = float(across[best[1]]) / columns, float(down[best[0]]) / rows
    return Shift(x, y, float(scores[best]), float(scores[near].max()))


def part_shifts(before: F32, now: F32, known: Mask, parts: int) -> list[Shift]:
    """The shift of each of ``parts`` × ``parts`` parts of the picture that is found again."""
    rows, columns = (side // (2 * parts) * 2 for side in before.shape)
    found = []
    for down in range(parts):
        for across in range(parts):
            place = np.s_[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns]
            found.append(find_shift(before[place], now[place], known[place]))
    return [shift for shift in found if shift.score >= CLEAR]
