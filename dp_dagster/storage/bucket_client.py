"""The S3 client of a process: credentials from the AWS chain alone, errors in one line and without secrets."""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dp_dagster.errors import NotInstalledError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.storage.bucket import BucketPath

_REFUSED = frozenset(
    {
        "401",
        "403",
        "AccessDenied",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
    }
)


def import_botocore() -> None:
    """Return if the library is there.

    Raises:
        NotInstalledError: it is not; carries the command that installs it.
    """
    try:
        import botocore.session  # noqa: F401
    except ImportError as error:
        raise NotInstalledError("s3:// needs the extra s3: pip install 'dp_dagster[s3]'") from error


def client() -> Any:
    """The S3 client of this process, for the environment as it is now."""
    return _client_and_session(circumstances())[0]


def endpoint() -> str:
    """Where requests go, without any secret."""
    parts = urlsplit(str(client().meta.endpoint_url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def delta_options() -> dict[str, str]:
    """The same credentials, endpoint and patience for Delta's own library, commits by conditional put.

    Raises:
        StoreError: there are no credentials.
    """
    import_botocore()
    from botocore.exceptions import BotoCoreError

    made, session = _client_and_session(circumstances())
    try:
        credentials = session.get_credentials()
        frozen = None if credentials is None else credentials.get_frozen_credentials()
    except BotoCoreError as error:
        raise StoreError(f"AWS credentials cannot be had ({type(error).__name__})") from error
    if frozen is None:
        raise StoreError(
            "there are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    url = str(made.meta.endpoint_url)
    options = {
        "aws_access_key_id": str(frozen.access_key),
        "aws_secret_access_key": str(frozen.secret_key),
        "aws_region": _region(made),
        "aws_endpoint_url": url,
        "aws_allow_http": "true" if url.startswith("http://") else "false",
        "aws_conditional_put": "etag",
        "connect_timeout": "5s",
        "timeout": "60s",
        "max_retries": "3",
        "retry_timeout": "60s",
    }
    if frozen.token:
        options["aws_session_token"] = str(frozen.token)
    return options


Circumstances = tuple[int, tuple[tuple[str, str], ...], tuple[tuple[int, int], ...]]


def circumstances() -> Circumstances:
    """What a client is made from: it must not outlive a fork, nor a change of the environment or of AWS's files.

    Credentials that somebody has replaced are thus taken up by processes that run for months.
    """
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return os.getpid(), environment, tuple(_state(*file) for file in _AWS_FILES)


def _state(variable: str, default: str) -> tuple[int, int]:
    try:
        status = Path(os.environ.get(variable) or default).expanduser().stat()
    except (OSError, RuntimeError):  # nobody's home, say
        return 0, 0
    return status.st_mtime_ns, status.st_size


_AWS_FILES = (
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ("AWS_CONFIG_FILE", "~/.aws/config"),
)


@lru_cache(maxsize=2)
def _client_and_session(_circumstances: Circumstances) -> tuple[Any, Any]:
    import_botocore()
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    session = botocore.session.get_session()
    style = {"addressing_style": "path"} if _has_own_endpoint(session) else {}
    region = session.get_config_variable("region") or os.environ.get("AWS_REGION") or "us-east-1"
    try:
        made = session.create_client(
            "s3",
            region_name=region,
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": 3},
                s3=style,
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise StoreError(
            f"no S3 client can be made of the environment ({type(error).__name__}); check AWS_ENDPOINT_URL, "
            "AWS_PROFILE and AWS_REGION"
        ) from error
    return made, session


def _has_own_endpoint(session: Any) -> bool:
    return any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")) or bool(
        session.get_scoped_config().get("endpoint_url")
    )


def _region(made: Any) -> str:
    region = str(made.meta.region_name or "")
    return region if region and region != "aws-global" else "us-east-1"


def code_of(error: Any) -> str:
    """What a server calls its error."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _first_line(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Message", "")).partition("\n")[0][:200]


@contextlib.contextmanager
def speaking(path: BucketPath) -> Iterator[None]:
    """Errors of the library as ours: one line, no secret."""
    import_botocore()
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreError(
            f"{path} cannot be used: there are no AWS credentials; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except ClientError as error:
        code = code_of(error)
        if code in _REFUSED:
            raise StoreError(
                f"{path} is refused to these AWS credentials ({code}); check them, and the bucket's policy"
            ) from None
        if code == "NoSuchBucket":
            raise StoreError(f"bucket {path.bucket} does not exist at {endpoint()}; create it") from error
        raise StoreError(f"{path}: {endpoint()} answered {code}: {_first_line(error)}") from error
    except BotoCoreError as error:
        raise StoreError(
            f"{path} cannot be reached at {endpoint()} ({type(error).__name__}); check AWS_ENDPOINT_URL "
            "and the network"
        ) from error
