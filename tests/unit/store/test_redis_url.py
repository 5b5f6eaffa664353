"""URLs of Redis: what would be misread is refused, in a sentence that shows no piece of it."""

import re

import pytest
from tests.support.command_line import run

from imagefleet import Client
from imagefleet.errors import SettingsInvalid
from imagefleet.store.redis_url import check_url
from imagefleet_worker.settings import Settings

BAD = [
    *(f"{scheme}://:ge{character}heim@db.internal:6379/0" for scheme in ("redis", "rediss") for character in "#/?@%"),
    *(f"redis://user:ge{character}heim@db.internal" for character in "#/?@%"),
    "redis://us%er:geheim@db.internal",
    "redis://:geheim#@db.internal:6379/0",
    "redis://:geheim/@db.internal:6379/0",
    "sentinel://:geheim@a.internal:26379;sentinel://:ge@heim@b.internal:26379/0",
    "sentinel://:ge;heim@a.internal:26379/0",
    "sentinel://a.internal:26379;b.internal:26379/0",
    "localhost",
    "localhost:6379",
    "db.internal:6379/0",
    "http://db.internal/",
    "redis:/db.internal",
    "redis://db.internal:geheim",
    "redis://db.internal:6379/geheim",
    "redis://db.internal:6379:6380/0",
]
GOOD = [
    "redis://",
    "redis://127.0.0.1:6379/0",
    "redis://db.internal",
    "redis://[::1]:6379/1",
    "redis://user:ge%23heim@db.internal:6379/0",
    "rediss://:geheim@db.internal/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ssl/ca.pem",
    "unix:///run/redis/redis.sock?db=1",
    "unix://user:geheim@/run/re@dis.sock",
    "sentinel://a.internal:26379;sentinel://:geheim@b.internal:26379/0",
]


def secrets(url: str) -> set[str]:
    """The words of *url* that a sentence must not hold."""
    return set(re.findall(r"geheim|heim|internal|us%er", url))


@pytest.mark.parametrize("url", BAD)
def test_a_bad_url_is_refused_without_showing_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By clients, by workers, and by both commands with exit code 78."""
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", url)

    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_REDIS_URL") as of_client:
        Client.from_env()
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_REDIS_URL") as of_worker:
        Settings.load()
    command = run("queues")

    assert command.returncode == 78
    for sentence in (of_client.value.message, of_worker.value.message, command.stderr):
        assert not [word for word in secrets(url) if word in sentence], sentence


@pytest.mark.parametrize("url", GOOD)
def test_a_good_url_passes(url: str) -> None:
    """Quoted passwords, sockets, TLS options and sentinels included."""
    check_url(url)


def test_the_sentence_says_how_to_write_the_character() -> None:
    with pytest.raises(ValueError, match=r"write # as %23, / as %2F, . as %3F, @ as %40, % as %25"):
        check_url("redis://:ge#heim@db")
