"""IDF1 and HOTA, by TrackEval (the extra ``selftest``)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from sightline.simulation.selftest.truth_samples import IdentitySample


@dataclass(frozen=True, slots=True)
class Identity:
    """Scores of one or several cameras, 0..1; all classes as one."""

    idf1: float
    hota: float


TRACKEVAL_MISSING = "IDF1 and HOTA need TrackEval: pip install 'sightline[selftest]'"


def identity_is_measured() -> bool:
    """Whether TrackEval, an extra, is installed."""
    return find_spec("trackeval") is not None


def identity(cameras: Sequence[Sequence[IdentitySample]]) -> Identity | None:
    """The scores over all cameras together; None without TrackEval, or without anything to judge."""
    data = [_data(moments) for moments in cameras if any(len(m.true_ids) for m in moments)]
    if not data or not identity_is_measured():
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what else is not installed
        from trackeval.metrics import HOTA  # noqa: PLC0415 - an extra
        from trackeval.metrics import Identity as IdentityMetric  # noqa: PLC0415

        results = []
        for metric in (IdentityMetric({"PRINT_CONFIG": False}), HOTA()):
            by_camera = {str(i): metric.eval_sequence(sequence) for i, sequence in enumerate(data)}
            results.append(metric.combine_sequences(by_camera))
    return Identity(float(results[0]["IDF1"]), float(np.mean(results[1]["HOTA"])))


def _data(moments: Sequence[IdentitySample]) -> dict[str, Any]:
    """A sequence in TrackEval's form: ids are numbered from 0."""
    true_ids, true_count = _numbered([m.true_ids for m in moments])
    track_ids, track_count = _numbered([m.track_ids for m in moments])
    return {
        "num_timesteps": len(moments),
        "gt_ids": true_ids,
        "tracker_ids": track_ids,
        "num_gt_ids": true_count,
        "num_tracker_ids": track_count,
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, track_ids)),
        "similarity_scores": [m.alike.astype(np.float64) for m in moments],
    }


def _numbered(ids: Sequence[Any]) -> tuple[list[Any], int]:
    every = np.unique(np.concatenate(ids))
    return [np.searchsorted(every, one) for one in ids], len(every)
