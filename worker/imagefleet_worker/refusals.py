"""Refusals: what S3 and boto3 say when something fails, in our words: who is to blame, and whether waiting helps."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as NoConnection

from imagefleet_worker.errors import StorageRefused, StorageUnavailable

#: A conditional write came second.
LOST_RACE: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
#: There is no such object (a bucket that is missing has a code of its own).
MISSING: Final = frozenset({"NoSuchKey", "404"})

_SERVER_ERROR: Final = 500
#: Answers below 500 after which the same request may succeed later, or from another machine.
_PASSING: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "ExpiredToken",  # short-lived credentials, about to be renewed
        "IncompleteBody",
        "OperationAborted",
        "RequestTimeTooSkewed",  # this machine's clock is wrong, another's is not
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "429",
    }
)
#: Answers from 500 on that will not change.
_FINAL: Final = frozenset({"NotImplemented", "501"})
#: Failures on the way, as boto3 names them; all its others are about settings and credentials.
_ON_THE_WAY: Final = (HTTPClientError, NoConnection, IncompleteReadError, CredentialRetrievalError)


def code_of(error: BaseException | None) -> str:
    """The code of an answer of S3, such as `NoSuchKey`; empty for anything else."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


@contextmanager
def explained(what: str, *, at: str) -> Generator[None]:
    """Turn boto3's errors into ours; the sentence begins with *what*, and names the endpoint *at*.

    Raises:
        StorageUnavailable: for what may heal.
        StorageRefused: for everything else.
    """
    try:
        yield
    except ClientError as error:
        reason = str(error.response.get("Error", {}).get("Message", ""))
        sentence = f"{what}: {at} answered {code_of(error)} {reason}".rstrip()
        raise (StorageUnavailable if _may_heal(error) else StorageRefused)(sentence) from error
    except BotoCoreError as error:
        kind = StorageUnavailable if isinstance(error, _ON_THE_WAY) else StorageRefused
        raise kind(f"{what}: {at}: {error}") from error


def _may_heal(error: ClientError) -> bool:
    status, code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), code_of(error)
    return code in _PASSING or (status >= _SERVER_ERROR and code not in _FINAL)
