"""S3 errors: turns the errors of S3 and boto3 into a worker's, by whether another try may help."""

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

from imagefleet.errors import reason_of
from imagefleet_worker.errors import StorageRefused, StorageUnavailable

#: A conditional write lost against another one.
LOST_RACE: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
#: There is no such object (a missing bucket has a code of its own).
MISSING: Final = frozenset({"NoSuchKey", "404"})

_SERVER_ERROR: Final = 500
#: Codes below 500 after which the same request may succeed later, or from another machine.
_TRANSIENT: Final = frozenset(
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
#: Codes from 500 on that are permanent.
_PERMANENT: Final = frozenset({"NotImplemented", "501"})
#: boto3's errors of the connection; all its others are about settings and credentials.
_CONNECTION_ERRORS: Final = (HTTPClientError, NoConnection, IncompleteReadError, CredentialRetrievalError)


_ADVICE: Final = {
    StorageUnavailable: "check that S3 runs and can be reached",
    StorageRefused: "check the credentials, the bucket and its policy (docs/security.md)",
}


def code_of(error: BaseException | None) -> str:
    """The code of an answer of S3, such as `NoSuchKey`; empty for anything else."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


@contextmanager
def translating_errors(what: str, *, at: str) -> Generator[None]:
    """Turn boto3's errors into a worker's; the sentence begins with *what*, and names the endpoint *at*.

    Raises:
        StorageUnavailable: If another try may help.
        StorageRefused: For every other error.
    """
    try:
        yield
    except ClientError as error:
        reason = str(error.response.get("Error", {}).get("Message", ""))
        sentence = f"{what}: {at} answered {code_of(error)} {reason}".rstrip()
        raise _worded(StorageUnavailable if _is_retryable(error) else StorageRefused, sentence) from error
    except BotoCoreError as error:
        kind = StorageUnavailable if isinstance(error, _CONNECTION_ERRORS) else StorageRefused
        raise _worded(kind, f"{what}: {at}: {reason_of(error)}") from error


def _worded(kind: type[StorageUnavailable | StorageRefused], sentence: str) -> StorageUnavailable | StorageRefused:
    """The error, with what to do."""
    return kind(f"{sentence.rstrip('.')}; {_ADVICE[kind]}")


def _is_retryable(error: ClientError) -> bool:
    status, code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), code_of(error)
    return code in _TRANSIENT or (status >= _SERVER_ERROR and code not in _PERMANENT)
