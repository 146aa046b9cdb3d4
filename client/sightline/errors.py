"""Every error that Sightline raises on purpose; each class says what has happened.

    SightlineError
    ├── ConfigError: ConfigErrors, ConfigChanged
    ├── SourceError: SourceUnreachable, SourceUnauthorized, SourceNotFound, SourceUnusable, SourceStalled,
    │                SourceEnded
    ├── DetectorError: DetectorUnavailable, DetectorTimeout, DetectorMismatch, DetectorOutdated
    ├── StoreError: StoreUnavailable: OwnerSilent; SchemaError, NotOwner
    ├── ModelError: NetworkUnusable, RepositoryError, EvaluationError, AdminError: TritonAway
    ├── AccessError: SignInRefused: TooManyAttempts
    ├── OutputError: OutputRefused
    └── SharedMemoryError, TrackLogError, ShadowError, LabelError, ServerError,
        MediaServerError

Library errors are wrapped once, where the library is called, with ``raise … from``. Every text is
free of credentials: see :func:`sightline.base.redact.redact`.
"""

from collections.abc import Sequence
from pathlib import PurePath


class SightlineError(Exception):
    """Base of all errors below."""


class ConfigError(SightlineError):
    """A value in the configuration is wrong; the text names camera (if it is one's), key and remedy.

    ``place`` is where it stands, as ``config.yml:7``, when that is known; a whole file has no key.
    """

    def __init__(self, key: str, problem: str, camera: str | None = None, place: str = "") -> None:
        super().__init__(key, problem, camera, place)  # what it is made from again across a process boundary
        self.key, self.problem, self.camera, self.place = key, problem, camera, place

    def __str__(self) -> str:
        camera = f"camera {self.camera!r}, " if self.camera else ""
        where = f"{camera}key {self.key!r}" if self.key else ""
        return ": ".join(filter(None, (self.place, where, self.problem)))

    @property
    def told(self) -> str:
        """The text for people who are not to learn where files lie: of the file's path its name alone."""
        return str(ConfigError(self.key, self.problem, self.camera, PurePath(self.place).name))

    @property
    def problems(self) -> tuple["ConfigError", ...]:
        """Every mistake that this error stands for."""
        return (self,)


class ConfigErrors(ConfigError):
    """Several values are wrong; the text has a line for each."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        super().__init__(problems[0].key, problems[0].problem, problems[0].camera)
        self.args = (tuple(problems),)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    @property
    def told(self) -> str:
        """The texts for people who are not to learn where files lie."""
        return "\n".join(problem.told for problem in self.problems)

    @property
    def problems(self) -> tuple[ConfigError, ...]:
        """Every mistake that this error stands for."""
        return tuple(self.args[0])

    @staticmethod
    def of(problems: Sequence[ConfigError]) -> ConfigError:
        """The only problem as it is, or all of them as one error."""
        return problems[0] if len(problems) == 1 else ConfigErrors(problems)


class ConfigChanged(ConfigError):
    """The file is another one than that which somebody wants to change; it has to be read again."""


class SourceError(SightlineError):
    """A camera gives no frames; tried again with back-off."""


class SourceUnreachable(SourceError):
    """No route, refused, name unknown, or the open timed out."""


class SourceUnauthorized(SourceError):
    """The camera refused the credentials (401 or 403): tried again slowly, since cameras lock accounts."""


class SourceNotFound(SourceError):
    """The camera has no stream at this path (404)."""


class SourceUnusable(SourceError):
    """The stream has no video, or nothing here decodes it."""


class SourceStalled(SourceError):
    """The stream stopped without closing."""


class SourceEnded(SourceError):
    """The stream ended: a file's end, or a server's goodbye."""


class OutputError(SightlineError):
    """A media server does not take a camera's video; tried again with back-off."""


class OutputRefused(OutputError):
    """It refuses the credentials (401 or 403): tried again slowly."""


class DetectorError(SightlineError):
    """A frame got no detections."""


class DetectorUnavailable(DetectorError):
    """Triton is away, or the model is not ready."""


class DetectorTimeout(DetectorError):
    """The answer did not come within the deadline."""


class DetectorMismatch(DetectorError):
    """The served model is not what this client can use."""


class DetectorOutdated(DetectorError):
    """Another version serves now and refused a frame made for the one before; sent again, it fits."""


class SharedMemoryError(SightlineError):
    """A shared-memory segment could not be made; the text names its size and what is free."""


class StoreError(SightlineError):
    """Results could not be written."""


class StoreUnavailable(StoreError):
    """The database is locked, full or away; what was not written is spooled and tried again."""


class SchemaError(StoreError):
    """The database's schema is newer than this program, or cannot be migrated."""


class NotOwner(StoreError):
    """Another program owns the database; the text names it."""


class OwnerSilent(StoreUnavailable):
    """Another program owns the database and may have died; that is known in some seconds."""


class LabelError(SightlineError):
    """Sampled pictures or their labels cannot be used; the text says why and what to do."""


class ServerError(SightlineError):
    """The embedded Triton or another program could not be installed or started."""


class TrackLogError(SightlineError):
    """A file of kept tracks cannot be read; the text says where."""


class ShadowError(SightlineError):
    """An episode of a shadow model cannot be read; the text says where."""


class ModelError(SightlineError):
    """A network cannot be exported, kept as a version, measured or served."""


class NetworkUnusable(ModelError):
    """The network has no known head or class names, a fixed batch, or a weight that FP16 cannot hold."""


class RepositoryError(ModelError):
    """The folder is not a model repository, or has no such version."""


class EvaluationError(ModelError):
    """There is no labelled set, or the network cannot be measured on it."""


class AdminError(ModelError):
    """Triton is away or refuses, or a model does not answer as a detector does."""


class TritonAway(AdminError):
    """No Triton answers at the address."""


class AccessError(SightlineError):
    """An account, a token or a link cannot be made, changed or used; the text says what to do."""


class SignInRefused(AccessError):
    """Nobody is signed in; the text never tells whether there is such an account."""


class TooManyAttempts(SignInRefused):
    """There were too many attempts lately: try again after ``wait_s`` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts; try again in {max(1, round(wait_s))} seconds")
        self.wait_s = wait_s

    def __reduce__(self) -> tuple[type["TooManyAttempts"], tuple[float]]:
        return TooManyAttempts, (self.wait_s,)


class MediaServerError(SightlineError):
    """The media server does not answer, or refuses what we ask of it."""
