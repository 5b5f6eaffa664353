"""Message headers and properties: every one that Celery, kombu or this worker reads, and what each may be.

Celery copies all headers into the attributes of its request. So a header of any other name is the sender's own, unless
it would take the place of an attribute or a method of that request.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic import model_validator as validator

from imagefleet.contract.queues import FINGERPRINT_HEADER, LOST_WORKERS_HEADER, REDELIVERIES_HEADER, TENANT_HEADER
from imagefleet.contract.validation_errors import describe_validation_error
from imagefleet_worker.queue.json_values import is_deeper
from imagefleet_worker.queue.moments import is_eta, parse_moment

#: Attributes of Celery's request that no header may set; those that a header may set are fields of `MessageHeaders`.
RESERVED_NAMES: Final = frozenset(
    {"_children", "_filter_x_death_headers", "_get_custom_headers", "_protected", "args", "as_execution_options"}
    | {"callbacks", "called_directly", "chain", "children", "chord", "clear", "correlation_id", "delivery_info"}
    | {"errbacks", "get", "hostname", "is_eager", "kwargs", "logfile", "loglevel", "properties", "reply_to"}
    | {"soft_time_limit", "time_limit", "update"}
)
#: Objects and lists in objects and lists.
MOST_LEVELS: Final = 32

_MOST_REDELIVERIES: Final = 1_000_000
_Count = Annotated[int, Field(ge=0, le=2**31)]
_Seconds = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]


def _checked_eta(value: object) -> object:
    if not is_eta(value):
        raise ValueError("is no time such as 2026-11-26T19:00:00+00:00")
    return value


def _as_utc(value: str) -> str:
    """*value* as a time in UTC, which Celery and `tasks` read alike."""
    try:
        return parse_moment(value).isoformat()
    except (ValueError, OverflowError) as error:
        raise ValueError("is no ISO 8601 time") from error


class MessageHeaders(BaseModel):
    """The headers of a message of protocol 2."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=1024)]
    task: Annotated[str, Field(min_length=1, max_length=1024)]
    lang: str | None = None
    shadow: str | None = None
    eta: Annotated[Any, AfterValidator(_checked_eta)] = None
    expires: Annotated[str, AfterValidator(_as_utc)] | None = None
    group: str | None = None
    group_index: _Count | None = None
    retries: _Count | None = None
    #: Seconds after which the task is killed, and after which it is asked to end.
    timelimit: Annotated[list[_Seconds | None], Field(min_length=2, max_length=2)] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: _Count | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, JsonValue] | None = None
    #: The name of a method of compression, for the body.
    compression: str | None = None
    #: Those of the sender's own, as another Celery task passes them on.
    headers: dict[str, JsonValue] | None = None
    taskset: str | None = None
    utc: bool | None = None
    redeliveries: Annotated[int | None, Field(ge=0, le=_MOST_REDELIVERIES, alias=REDELIVERIES_HEADER)] = None
    lost_workers: Annotated[list[dict[str, JsonValue]] | None, Field(alias=LOST_WORKERS_HEADER)] = None
    fingerprint: Annotated[str | None, Field(alias=FINGERPRINT_HEADER)] = None
    tenant: Annotated[str | None, Field(alias=TENANT_HEADER)] = None
    traceparent: str | None = None
    tracestate: str | None = None

    @validator(mode="after")
    def _is_no_attribute(self) -> Self:
        taken = sorted(RESERVED_NAMES & set(self.model_extra or {}))
        if taken:
            raise ValueError(f"{', '.join(taken)}: Celery uses this name itself; send the header under another one")
        return self

    @validator(mode="after")
    def _has_each_stamp(self) -> Self:
        missing = set(self.stamped_headers or ()) - set(self.stamps or {})
        if missing:
            raise ValueError(f"stamps: has no {', '.join(sorted(missing))}, which stamped_headers names")
        return self


class MessageProperties(BaseModel):
    """The properties of a message; the delivery's own are not read, because this worker sets them."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    correlation_id: str | None = None
    reply_to: str | None = None
    priority: _Count | None = None
    body_encoding: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None


def read_headers(headers: Mapping[str, Any], *, text: str) -> tuple[MessageHeaders | None, str]:
    """The headers of the message *text*, and what is wrong with them, or an empty sentence.

    Headers that are wrong are left out: the others still name the receiver of the result. None without id or task.
    """
    if is_deeper(headers, MOST_LEVELS, text=text):
        shallow = {name: value for name, value in headers.items() if not isinstance(value, dict | list)}
        return _read(MessageHeaders, shallow)[0], f"the headers are nested more than {MOST_LEVELS} times"
    return _read(MessageHeaders, headers)


def read_properties(properties: Mapping[str, Any], *, text: str) -> tuple[MessageProperties, str]:
    """The properties of the message *text*, and what is wrong with them, or an empty sentence."""
    if is_deeper(properties, MOST_LEVELS, text=text):
        return MessageProperties(), f"the properties are nested more than {MOST_LEVELS} times"
    found, problem = _read(MessageProperties, properties)
    return found or MessageProperties(), problem


_Model = TypeVar("_Model", bound=BaseModel)


def _read(model: type[_Model], values: Mapping[str, Any]) -> tuple[_Model | None, str]:
    """What can be read of *values*, without those that are wrong, and what is wrong with them."""
    problem, left = "", dict(values)
    while True:
        try:
            return model.model_validate(left), problem
        except ValidationError as error:
            problem = problem or describe_validation_error(error)
            wrong = {each["loc"][0] for each in error.errors() if each["loc"]} or {*RESERVED_NAMES, "stamped_headers"}
            if not wrong & left.keys():  # what is wrong is missing
                return None, problem
            left = {name: value for name, value in left.items() if name not in wrong}
