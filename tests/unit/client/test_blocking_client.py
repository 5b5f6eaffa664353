"""The blocking client is made from the asyncio one."""

import inspect

import pytest
from tests.scripts.make_blocking_client import CLIENT, MODULES, blocking

from imagefleet import AsyncClient, Client


@pytest.mark.parametrize(("source", "target"), MODULES.items())
def test_the_file_is_what_the_asyncio_one_makes(source: str, target: str) -> None:
    assert (CLIENT / target).read_text() == blocking((CLIENT / source).read_text(), source)


def test_what_has_no_blocking_form_is_refused() -> None:
    with pytest.raises(ValueError, match="gather"):
        blocking("async def both() -> None:\n    return asyncio.gather()\n", "made_up.py")


def _parameters(client: type) -> dict[str, list[str]]:
    methods = inspect.getmembers(client, inspect.isfunction)
    return {name: list(inspect.signature(method).parameters) for name, method in methods if not name.startswith("_")}


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    assert _parameters(Client) == _parameters(AsyncClient)
    assert len(_parameters(Client)) >= 14
