"""Where a webhook may go: 100 URLs that lead inside, and those that do not."""

import socket
from typing import Any

import pytest

from imagefleet_worker.webhooks.errors import AddressRefused, DeliveryFailed
from imagefleet_worker.webhooks.ssrf_guard import resolve

#: A resolver of our own, so that no test asks a real one.
NAMES = {
    "example.com": ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "xn--bcher-kva.example": ["93.184.215.14"],
    "localhost": ["::1", "127.0.0.1"],
    "localhost.localdomain": ["127.0.0.1"],
    "redis": ["10.0.0.7"],
    "receiver.namespace.svc": ["10.0.0.8"],
    "metadata.google.internal": ["169.254.169.254"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "half.example": ["93.184.215.14", "10.0.0.1"],
    "half6.example": ["93.184.215.14", "fd00::1"],
    "mapped.example": ["::ffff:10.0.0.1"],
}

LOOPBACK = [
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/admin",
    "http://127.0.0.1./",
    "http://127.0.0.1../",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0x7F.1/",
    "http://0177.0.0.1/",
    "http://0177.0.0.01/",
    "http://00000177.1/",
    "http://127.0x0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0.0.0.0:6379/",
    "http://0.1.2.3/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://localhost:8080/",
    "http://localhost.localdomain/",
    "http://127.0.0.1.nip.io/",
    "https://localhost/",
    "HTTP://127.0.0.1/",
]
PRIVATE = [
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://167772161/",
    "http://0xa000001/",
    "http://012.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.168.1.1:8443/",
    "http://0300.0250.0.1/",
    "http://100.64.0.1/",
    "http://100.127.255.254/",
    "http://192.0.0.8/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.19.255.255/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://redis:6379/",
    "http://receiver.namespace.svc/",
]
METADATA = [
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254:80/",
    "http://169.254.169.254./",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://0xa9.0xfe.0xa9.0xfe/",
    "http://169.254.43518/",
    "http://169.254.170.2/v2/credentials",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://192.0.0.192/latest/",
    "http://168.63.129.16/machine/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fd20:ce::254]/computeMetadata/v1/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
]
IPV6 = [
    "http://[::]/",
    "http://[::1]/",
    "http://[::1]:8080/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::FFFF:10.0.0.1]/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[::7f00:1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:0:0:0:0:80ff:fffe]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fdff:ffff::1]/",
    "http://[ff02::1]/",
    "http://[ff0e::1]/",
    "http://mapped.example/",
]
MIXED = ["http://half.example/", "https://half6.example/hook"]
SPELLINGS = [
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",  # fullwidth forms
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://ⓛocalhost/",
    "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/",  # fullwidth forms
    "http://bücher.example/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com\\.127.0.0.1/",
    "http:\\\\127.0.0.1/",
    "http://127.0.0.1\t/",
    "http://exam\nple.com/",
    "http://example.com/a b",
    "http://example.com/\r\nHost: redis",
    " http://example.com/",
    "http://example.com/\x00",
    "http://%31%32%37.0.0.1/",
    "http://example.com%2f@127.0.0.1/",
    "http://[::1/",
    "http://::1]/",
    "http://[127.0.0.1]/",
    "http://[example.com]/",
    "http:///hook",
    "http://",
    "http:example.com",
    "http://./",
    "http://a..b/",
    "http://.example.com/",
    f"http://{'a' * 64}.example/",
    "",
    "example.com",
    "//example.com/",
]
OTHERS = [
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://:@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1@example.com/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "gopher://example.com:6379/_FLUSHALL",
    "redis://example.com/",
    "unix:///var/run/docker.sock",
    "data:text/plain,x",
    "javascript:alert(1)",
    "ws://example.com/",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "http://example.com:0/",
    "http://example.com:22/",
    "http://example.com:25/",
    "http://example.com:1023/",
    "http://example.com:65536/",
    "http://example.com:-80/",
    "http://example.com:8o/",
    "http://example.com:+80/",
]
HOSTILE = [*LOOPBACK, *PRIVATE, *METADATA, *IPV6, *MIXED, *SPELLINGS, *OTHERS]


@pytest.fixture(autouse=True)
def _resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        host.encode("idna")  # as the real one does, first of all
        found: list[Any] = []
        for address in NAMES.get(host, [host]):
            found += real(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_table_is_long_enough() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_refused_for_good(url: str) -> None:
    with pytest.raises(AddressRefused):
        resolve(url, allow_hosts=())


@pytest.mark.parametrize("url", [*LOOPBACK, *PRIVATE, *METADATA, *IPV6])
def test_an_allowed_neighbour_opens_no_door_to_it(url: str) -> None:
    """An allow list lets in what it names, and nothing beside it."""
    with pytest.raises(AddressRefused):
        resolve(url, allow_hosts=("hooks.svc", "10.9.9.0/24", "fd09::/64", "127.0.0.99"))


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path"),
    [
        ("https://example.com", "https", "example.com", 443, "/"),
        ("http://example.com/hook", "http", "example.com", 80, "/hook"),
        ("https://EXAMPLE.com./hook?a=1&b=%20#part", "https", "example.com", 443, "/hook?a=1&b=%20"),
        ("https://example.com:8443/", "https", "example.com", 8443, "/"),
        ("http://example.com:1024/", "http", "example.com", 1024, "/"),
        ("https://example.com:80/", "https", "example.com", 80, "/"),
        ("https://xn--bcher-kva.example/", "https", "xn--bcher-kva.example", 443, "/"),
        ("https://93.184.215.14/", "https", "93.184.215.14", 443, "/"),
        ("https://[2606:4700::1111]/", "https", "2606:4700::1111", 443, "/"),
        ("https://8.8.8.8:9000/x", "https", "8.8.8.8", 9000, "/x"),
    ],
)
def test_a_public_url_leads_to_its_address(url: str, scheme: str, host: str, port: int, path: str) -> None:
    target = resolve(url, allow_hosts=())

    assert (target.scheme, target.host, target.port, target.path) == (scheme, host, port, path)
    assert target.address == NAMES.get(host, [host])[0]


def test_all_addresses_of_a_name_are_kept_for_the_connection() -> None:
    assert list(resolve("https://example.com/", allow_hosts=()).addresses) == NAMES["example.com"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://redis:8000/", "redis"),
        ("http://redis:8000/", "REDIS"),
        ("http://redis.:8000/", "redis"),
        ("http://redis:8000/", "10.0.0.7"),
        ("http://redis:8000/", "10.0.0.0/8"),
        ("http://10.1.2.3/", "10.0.0.0/8"),
        ("http://localhost:8000/", "localhost"),
        ("http://[fd00::1]/", "fd00::/8"),
        ("http://[::1]:8000/", "::1"),
        ("http://[::ffff:10.0.0.1]/", "10.0.0.0/8"),
        ("http://half.example/", "10.0.0.0/8"),
    ],
)
def test_an_allowed_receiver_may_be_private(url: str, allowed: str) -> None:
    assert resolve(url, allow_hosts=("other.svc", allowed)).addresses


def test_all_addresses_of_a_name_must_be_allowed() -> None:
    """An allowed IPv4 address does not vouch for the IPv6 address beside it."""
    with pytest.raises(AddressRefused, match="::1"):
        resolve("http://localhost/", allow_hosts=("127.0.0.0/8",))


@pytest.mark.parametrize("url", ["file://redis/etc/passwd", "http://user@redis/", "http://redis:22/"])
def test_the_allow_list_is_for_addresses_only(url: str) -> None:
    with pytest.raises(AddressRefused):
        resolve(url, allow_hosts=("redis", "10.0.0.0/8"))


def test_the_sentence_says_where_it_leads_and_which_setting_allows_it() -> None:
    with pytest.raises(AddressRefused, match=r"redis leads to 10\.0\.0\.7.*IMAGEFLEET_WEBHOOK_ALLOW_HOSTS"):
        resolve("http://redis:8000/", allow_hosts=())


def test_a_refusal_repeats_no_password() -> None:
    with pytest.raises(AddressRefused) as refused:
        resolve("https://user:hunter2@example.com/", allow_hosts=())

    assert "hunter2" not in refused.value.message


def test_a_name_without_an_address_may_have_one_later() -> None:
    """A resolver that fails for a moment must not cost the webhook."""
    with pytest.raises(DeliveryFailed, match=r"nowhere\.example has no address"):
        resolve("https://nowhere.example/", allow_hosts=())


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://example.com/", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("http://example.com:443/", "example.com:443"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_the_host_header_names_the_port_where_it_is_not_the_usual(url: str, header: str) -> None:
    assert resolve(url, allow_hosts=()).host_header == header
