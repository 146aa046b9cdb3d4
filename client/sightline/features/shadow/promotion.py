"""What follows from a decision: the candidate serves, or is retired."""

import re
from pathlib import Path

from sightline.errors import RepositoryError
from sightline.features.shadow.episode_comparison import ComparedEpisodes
from sightline.features.shadow.promotion_rule import Decision, Verdict
from sightline.models.registry.operations import MissingClasses, Versions
from sightline.models.registry.triton_admin import TritonAdmin
from sightline.serving import model_configs


def apply(
    folder: Path,
    triton: TritonAdmin,
    missing: MissingClasses,
    compared: ComparedEpisodes,
    decision: Decision,
) -> str:
    """Switch the live detector to the candidate, or retire it; the audit trail says why. A line about it.

    RepositoryError: other versions serve than were compared, or it is refused (also since the candidate is
    ``missing`` classes); AdminError: Triton fails.
    """
    newest = compared.newest
    version = _same_version(folder, newest.candidate_model, newest.candidate_version)
    _same_version(folder, newest.live_model, newest.live_version)
    scope = f"{decision.episodes} episodes, {decision.objects} objects"
    versions = Versions(folder, triton, f"shadow, {scope}: {'; '.join(decision.reasons)}", missing)
    if decision.verdict is Verdict.PROMOTE:
        versions.switch(version, newest.live_model)
        return f"{newest.live_model} serves version {version}"
    versions.retire(version)
    return f"version {version} is retired"


def _same_version(folder: Path, model: str, full_name: str) -> int:
    """The number of the version that a detector serves, if it is the one that was compared."""
    beside = re.fullmatch(rf"{model_configs.DETECTOR}-(\d+)", model)
    number = int(beside[1]) if beside else model_configs.active(folder, model)
    if number is None:
        raise RepositoryError(f"{model} is no detector of {folder}")
    serves = model_configs.read_manifest(folder, number)["model_version"]
    if serves != full_name:
        raise RepositoryError(f"{model} is {serves} now; what was compared is {full_name}")
    return number
