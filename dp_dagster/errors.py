"""Every error that dp_dagster raises on purpose, split by who must act.

One root, :class:`DataProductError`. Below it the branches say who can mend the matter: the author of the
product, the caller of the command, the operator of the platform, or nobody but time (retry). The exit code
of ``dp`` follows from the branch, so a command never has to decide it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class DataProductError(Exception):
    """Root of all errors of dp_dagster. ``exit_code`` is what ``dp`` ends with."""

    exit_code: ClassVar[int] = 1


# -- the author of the product must act ------------------------------------------------------------------


class AuthorError(DataProductError):
    """The product, its contract, its code or its data is at fault."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file: where, which field, what is wrong, what would be right."""

    file: str
    line: int
    field: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        field = f"{self.field}: " if self.field else ""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{place}{field}{self.message}{fix}"


class DescriptorError(AuthorError):
    """A product's descriptor is refused. Carries every problem found, one line each."""

    def __init__(self, problems: tuple[Problem, ...] | list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PolicyError(DescriptorError):
    """A product does not keep policies of severity ``error``. Carries every finding, and the report."""

    def __init__(self, problems: tuple[Problem, ...] | list[Problem], report: object = None) -> None:
        self.report = report
        super().__init__(problems)


class ContractError(AuthorError):
    """A contract cannot be loaded, compiled or evaluated."""


class ContractDocumentError(ContractError):
    """A contract that is a document is refused. Carries every problem found, one line each."""

    def __init__(self, problems: tuple[Problem, ...] | list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TransformError(AuthorError):
    """A transform's code is at fault: it does not parse, names what does not exist, or raises."""


class InputError(AuthorError):
    """What an input port found is not what the product declares."""


class ContractViolationError(AuthorError):
    """The data breaks its contract; the candidate is held and the last good version stays served."""


class PublicationRefusedError(AuthorError):
    """A candidate may not be published: no passing verdict for these bytes and this contract."""


# -- the caller must act -----------------------------------------------------------------------------------


class UsageError(DataProductError):
    """The command or call is wrong: an unknown product, dataset, version or option."""

    exit_code = 2


class AccessDeniedError(UsageError):
    """Who asks may not have it. Says nothing of what is there."""


class AuthenticationError(UsageError):
    """Who asks did not prove who they are, or it could not be checked.

    Attributes:
        status: HTTP status: 401 (prove it), 403 (proven, and not enough) or 503 (cannot be checked now).
        challenge: Value of the ``WWW-Authenticate`` header; empty where there is none to send.
        retry_after: Seconds after which a new attempt may succeed; ``None`` where time mends nothing.
    """

    def __init__(
        self, message: str, *, status: int = 401, challenge: str = "", retry_after: int | None = None
    ) -> None:
        self.status = status
        self.challenge = challenge
        self.retry_after = retry_after
        super().__init__(message)


class LimitExceededError(UsageError):
    """A consumer has taken as much as the port gives in this time.

    Attributes:
        retry_after: Seconds until more is given.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class QueryLimitError(UsageError):
    """An answer would take longer, or be larger, than is allowed; the message says what to ask instead."""


class NotFoundError(UsageError):
    """What was asked for is not there. Over HTTP: 404."""


class VersionGoneError(UsageError):
    """A version that was asked for is no longer kept, or never was; the message says how to start again."""


# -- the operator must act -----------------------------------------------------------------------------------


class OperatorError(DataProductError):
    """Something that the product runs on is at fault."""

    exit_code = 3


class SettingsError(OperatorError):
    """A platform setting is wrong."""


class NotInstalledError(OperatorError):
    """A known kind whose extra is missing. The message carries the command that installs it."""


class StoreError(OperatorError):
    """The store cannot be read or written, or does not hold what its log promises."""


# -- nobody but time ----------------------------------------------------------------------------------


class RetryableError(OperatorError):
    """A later try may succeed without anybody doing anything."""


class LockedError(RetryableError):
    """Somebody else holds the lock of a dataset or product."""


class NotPublishedError(RetryableError):
    """Nothing has been published yet, so there is nothing to read."""


class ConflictError(RetryableError):
    """Another writer published first: the verdict was given against a version that is no longer newest."""
