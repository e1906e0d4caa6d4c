"""The guarantee: what must be shown before a candidate may become a version.

The rule lives here, in the publishing step itself, and not in the order in which anybody runs things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.errors import PublicationRefusedError, StoreError
from dp_dagster.storage.candidate import PUBLISHED, examine, hash_of, read_footers

if TYPE_CHECKING:
    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.storage.candidate import Candidate, CandidateFile, Registry
    from dp_dagster.storage.snapshot import Snapshot


def prove(candidate: Candidate, verdict: Verdict | None, contract_hash: str | None) -> None:
    """Return if the candidate may be published as its files are now.

    With a contract: the verdict must have passed, for this contract and for exactly these bytes, which are read
    again. Without one (inputs, kept transforms): sizes, rows and columns must be as they were when it was sealed.

    Raises:
        PublicationRefusedError: something is missing or does not match; says what.
        StoreError: a file is gone or unreadable.
    """
    what = f"candidate {candidate.id} of {candidate.location}"
    if contract_hash is None:
        if candidate.location.audited:
            raise PublicationRefusedError(f"{what} has no contract; a dataset is published only with one")
        if verdict is not None:
            raise PublicationRefusedError(f"{what} has a verdict but no contract; name the contract's hash")
        _check_unchanged(candidate, what)
        return
    if verdict is None:
        raise PublicationRefusedError(f"{what} has no verdict; audit it first")
    if not verdict.passed:
        raise PublicationRefusedError(f"{what} is held: {verdict.reason}")
    if verdict.contract_hash != contract_hash:
        raise PublicationRefusedError(
            f"{what} was judged by contract {verdict.contract_hash[:12]}, in force is {contract_hash[:12]}; "
            "audit it again"
        )
    files, columns = examine(candidate.location, [file.path for file in candidate.files])
    if hash_of(files) != verdict.accepted_hash:
        raise PublicationRefusedError(
            f"{what} does not hold the bytes that verdict {verdict.id} accepted; it was altered, write it again"
        )
    # The bytes are proven; the figures that go into the commit must be theirs.
    if files != candidate.files or columns != candidate.columns:
        raise PublicationRefusedError(f"{what} is not described truly by its record; write it again")
    if candidate.rows != verdict.rows_accepted:
        raise PublicationRefusedError(
            f"{what} has {candidate.rows} rows, verdict {verdict.id} accepted {verdict.rows_accepted}"
        )


def _check_unchanged(candidate: Candidate, what: str) -> None:
    for file in candidate.files:
        try:
            size = (candidate.location.directory / file.path).stat().st_size
        except OSError as error:
            raise StoreError(f"{what}: file {file.path} is gone; run again") from error
        if size != file.size:
            raise PublicationRefusedError(
                f"{what}: file {file.path} has {size} bytes, had {file.size}; it was altered, write it again"
            )
    counts, columns = read_footers(candidate.location, [file.path for file in candidate.files])
    if counts != [file.rows for file in candidate.files] or columns != candidate.columns:
        raise PublicationRefusedError(f"{what} was altered after it was written; write it again")


def check_as_published(version: Snapshot, registry: Registry) -> None:
    """See that a version's files still hold the bytes that were published.

    Raises:
        StoreError: they do not, or one is gone.
    """
    expected = version.metadata.get("dp.files_hash")
    if expected is None:  # an append names only the files that it added
        return
    location = version.location
    files, _ = examine(location, [name.rpartition("/")[2] for name in version.files])
    if "dp.rows_added" in version.metadata:
        # The commit hashes what it added; what stayed is on record with the candidates that it came with.
        known = _recorded(registry)
        is_same = all(known.get(file.path) == file for file in files)
    else:
        is_same = hash_of(files) == expected
    if not is_same:
        raise StoreError(
            f"{location} version {version.version} no longer holds the bytes that were published; "
            "choose another version"
        )


def _recorded(registry: Registry) -> dict[str, CandidateFile]:
    """All files of published candidates, by name."""
    return {
        file.path: file
        for record in registry.all()
        if record.state == PUBLISHED
        for name in record.names()
        if (file := record.file(name)) is not None
    }
