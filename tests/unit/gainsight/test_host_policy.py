"""The hosts that a connector may connect to: public ones, judged by the address that the connection goes to."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.gainsight import (
    AccessKey,
    GainsightClient,
    GainsightError,
    HostPolicy,
    HostRefusedError,
    HttpTransport,
    OAuthClient,
    TransientError,
    http_transport,
)
from frame_gainsight.gainsight.host_policy import kind_of
from frame_gainsight.runtime import SystemClock
from frame_gainsight.runtime.allowed_hosts import VARIABLE, AllowedHosts
from tests.unit.gainsight.conftest import COMPANIES, FreeBudget, failure
from tests.unit.gainsight.served import Request, Served

PUBLIC = HostPolicy()
ADDRESS = "93.184.215.14"


def allowing(text: str) -> HostPolicy:
    return HostPolicy(AllowedHosts.parse(text))


def client_of(url: str, hosts: HostPolicy, **more: Any) -> GainsightClient:
    return GainsightClient(
        HttpTransport(url, AccessKey("k"), FreeBudget(), SystemClock(), retry_seconds=0, hosts=hosts, **more)
    )


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets every name resolve to given addresses, one list a look-up; returns the names that were looked up."""

    def set_up(*answers: Sequence[str]) -> list[str]:
        asked: list[str] = []
        left = list(answers)

        def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            found = left.pop(0) if len(left) > 1 else left[0]
            return [(socket.AF_INET6 if ":" in a else socket.AF_INET, 1, 6, "", (a, port)) for a in found]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return set_up


REFUSED_HOSTS = [
    ("127.0.0.1", "loopback"),
    ("127.1", "loopback"),
    ("2130706433", "loopback"),
    ("0x7f000001", "loopback"),
    ("0X7F.1", "loopback"),
    ("0177.0.0.1", "loopback"),
    ("0177.0.0x0.1", "loopback"),
    ("017700000001", "loopback"),
    ("localhost", "loopback"),
    ("LOCALHOST.", "loopback"),
    ("a.localhost", "loopback"),
    ("[::1]", "loopback"),
    ("[0:0:0:0:0:0:0:1]", "loopback"),
    ("[::ffff:127.0.0.1]", "loopback"),
    ("[::ffff:7f00:1]", "loopback"),
    ("[64:ff9b::7f00:1]", "loopback"),
    ("[2002:7f00:1::]", "loopback"),
    ("[::127.0.0.1]", "loopback"),
    ("[fd00::5efe:7f00:1]", "loopback"),
    ("[fd00::5efe:808:808]", "private"),
    ("[fe80::200:5efe:808:808]", "link-local"),
    ("[ff02::5efe:808:808]", "multicast"),
    ("[fec0::5efe:808:808]", ""),
    ("[64:ff9b:1::5efe:808:808]", ""),
    ("0.0.0.0", "unspecified"),
    ("0", "unspecified"),
    ("[::]", "unspecified"),
    ("10.0.0.8", "private"),
    ("172.16.5.4", "private"),
    ("192.168.1.1", "private"),
    ("192.168.257", "private"),
    ("[fd00:ec2::254]", "private"),
    ("[fc00::1]", "private"),
    ("[64:ff9b::10.0.0.1]", "private"),
    ("169.254.169.254", "metadata"),
    ("0xA9FEA9FE", "metadata"),
    ("2852039166", "metadata"),
    ("[::ffff:169.254.169.254]", "metadata"),
    ("[fe80::1%eth0]", "metadata"),
    ("[fe80::1]", "metadata"),
    ("100.100.100.200", "not public"),
    ("100.64.0.1", "not public"),
    ("168.63.129.16", "not public"),
    ("192.0.0.192", "192.0.0.192 is a"),
    ("224.0.0.1", "multicast"),
    ("[ff02::1]", "multicast"),
    ("255.255.255.255", "private"),
    ("[fec0::1]", "not public"),
    ("[2001:0:53aa:64c:0:0:0:1]", "private"),
    ("tenant", "one part"),
    ("metadata", "one part"),
    ("kafka.", "one part"),
    ("acme.example:8443", "port 8443"),
    ("acme.example:22", "port 22"),
    (f"{ADDRESS}:9092", "port 9092"),
    ("g\u0430insightcloud.com", "xn--ginsightcloud-w1k.com"),
    ("xn--ginsightcloud-w1k.com", "another script"),
    ("\u0261\u0251\u026ansightcloud.com", "another script"),
    ("acme.gainsightcl\u00f6ud.com", "another script"),
    ("a" * 64 + ".example", "63 characters"),
    (".".join(["a" * 60] * 5), "253"),
    ("a..example", "63 characters"),
    ("xn--\u0430\u0431\u0432.example", "not a host name"),
    ("xn--99999999999.example", "not a host name"),
    ("\u2024\u2024.example", "not a host name"),
    ("1.2.3.4.5", "neither a name nor an address"),
    ("999.1.1.1", "neither a name nor an address"),
]


@pytest.mark.parametrize(("host", "words"), REFUSED_HOSTS, ids=lambda value: ascii(value)[:30])
async def test_a_host_that_is_not_public_is_refused_with_its_cause_before_anything_is_looked_up(
    host: str, words: str, resolved: Callable[..., list[str]]
) -> None:
    asked = resolved([ADDRESS])
    with pytest.raises(HostRefusedError) as caught:
        PUBLIC.require(f"https://{host}")
    assert words in str(caught.value)
    for credentials in (AccessKey("k"), OAuthClient("k", "s", SystemClock())):
        transport = HttpTransport(
            f"https://{host}", credentials, FreeBudget(), SystemClock(), retry_seconds=0, hosts=PUBLIC
        )
        async with GainsightClient(transport) as client:
            assert isinstance(await failure(client), HostRefusedError)
            assert client.calls == {}
    assert asked == []


@pytest.mark.parametrize(
    "host",
    [
        "https://acme.gainsightcloud.com",
        "https://success.acme.com:443",
        f"https://{ADDRESS}",
        "https://erfolg.m\u00fcller.de",
    ],
)
def test_a_customer_s_own_domain_is_fine(host: str) -> None:
    PUBLIC.require(host)


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        (["127.0.0.1"], "127.0.0.1, a loopback address"),
        (["10.1.2.3"], "10.1.2.3, a private address"),
        (["169.254.169.254"], "metadata"),
        (["::ffff:10.1.2.3"], "10.1.2.3, a private address"),
        (["64:ff9b::a00:1"], "private"),
        (["fd00::1", "10.0.0.1"], "private"),
        (["0.0.0.0"], "unspecified"),
    ],
)
async def test_a_name_is_judged_by_the_address_that_it_resolves_to(
    addresses: list[str], words: str, resolved: Callable[..., list[str]]
) -> None:
    resolved(addresses)
    async with client_of("https://acme.example", PUBLIC) as client:
        error = await failure(client)
        assert client.calls == {}
    assert isinstance(error, HostRefusedError)
    assert words in str(error) and "acme.example" in str(error) and f"{VARIABLE}=" in str(error)


async def test_a_name_is_looked_up_once_and_connected_to_at_that_address(
    resolved: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the connection nobody can give another address."""
    connected: list[Any] = []

    async def connect(_: Any, host: str, port: int, *__: Any, **___: Any) -> None:
        connected.append((host, port))
        raise OSError("refused")

    asked = resolved([ADDRESS, "10.0.0.1", "2606:2800:21f::1"], ["127.0.0.1"])
    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", connect)
    async with client_of("https://acme.example", PUBLIC) as client:
        assert isinstance(await failure(client), TransientError)
    assert asked == ["acme.example"]
    assert connected[0] == (ADDRESS, 443)
    assert ("10.0.0.1", 443) not in connected


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "::1/128 127.0.0.0/8"])
async def test_what_is_allowed_is_connected_to_on_any_port(allowed: str) -> None:
    with Served(lambda request: request.json({"result": True, "data": []})) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost"), server.url.replace("127.0.0.1", "127.1")):
            async with client_of(url, allowing(allowed)) as client:
                assert await client.query(COMPANIES) == []


async def test_an_allowed_name_may_be_of_one_part_and_lead_into_the_network(resolved: Callable[..., list[str]]) -> None:
    with Served(lambda request: request.json({"result": True, "data": []})) as server:
        resolved(["127.0.0.1"])
        async with client_of(server.url.replace("127.0.0.1", "Tenant"), allowing("tenant")) as client:
            assert await client.query(COMPANIES) == []
        async with client_of(server.url.replace("127.0.0.1", "other"), allowing("tenant")) as client:
            assert isinstance(await failure(client), HostRefusedError)


async def test_what_is_allowed_is_not_all(resolved: Callable[..., list[str]]) -> None:
    policy = allowing("127.0.0.0/8")
    for host in ("10.0.0.1", "169.254.169.254", "[::1]"):
        with pytest.raises(HostRefusedError):
            policy.require(f"https://{host}")
    resolved(["10.0.0.1"])
    for url in ("https://tenant", "https://acme.example", "https://acme.example:8443"):
        async with client_of(url, policy) as client:
            assert isinstance(await failure(client), HostRefusedError)
    resolved([ADDRESS])
    for url, words in (("https://tenant", "one part"), ("https://acme.example:8443", "port 8443")):
        async with client_of(url, policy) as client:
            error = await failure(client)
            assert isinstance(error, HostRefusedError) and words in str(error)


async def test_a_redirect_into_the_network_is_not_followed() -> None:
    with Served(lambda request: request.json({"result": True, "data": []})) as inside:

        def answer(request: Request) -> None:
            request.json({}, 307, {"Location": inside.url})

        with Served(answer) as server:
            async with client_of(server.url, allowing("127.0.0.0/8")) as client:
                assert "redirects elsewhere" in str(await failure(client))
        assert inside.requests == []


def test_without_a_policy_only_public_hosts_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert HostPolicy() == HostPolicy(AllowedHosts())
    source = Path(http_transport.__file__).read_text()
    assert "PUBLIC_HOSTS = HostPolicy()" in source


@given(st.text(max_size=80))
async def test_no_host_raises_anything_but_an_error_of_its_connector(host: str) -> None:
    try:
        PUBLIC.require(f"https://{host}")
    except HostRefusedError:
        async with client_of(f"https://{host}", PUBLIC) as client:
            with pytest.raises(GainsightError):
                await client.query(COMPANIES)


@given(st.ip_addresses(v=4))
def test_an_address_within_an_ipv6_address_counts_as_itself(address: ipaddress.IPv4Address) -> None:
    for text in (
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1",
    ):
        assert kind_of(ipaddress.ip_address(text)) == kind_of(address)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "300.1.1.1", "http://a", "a b/c", "-", "10.0.0.0/99", "::g"])
def test_a_list_that_does_not_read_names_its_entry(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        AllowedHosts.parse(text)


# ---- certificates --------------------------------------------------------------------------------------------------


@contextmanager
def secured(folder: Path, name: str, *, days: tuple[int, int] = (-1, 1), issued: bool = False) -> Iterator[str]:
    """The address of a server with a certificate for `name`, of an authority of its own if `issued`; and
    `folder/ca.pem`, that vouches for it."""
    key, root_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    root = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

    def made(subject: x509.Name, issuer: x509.Name, ca: bool, days: tuple[int, int]) -> x509.Certificate:
        by = root_key if issuer is root else key
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key((root_key if ca else key).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(by, hashes.SHA256())

    leaf = made(own, root if issued else own, False, days)
    authority = made(root, root, True, (-2, 2)) if issued else leaf
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(pem + leaf.public_bytes(Encoding.PEM))
    (folder / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(5)
            self.request.recv(65_536)
            body = b'{"result": true, "data": []}'
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    class Quiet(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def get_request(self) -> Any:
            accepted, peer = self.socket.accept()
            return context.wrap_socket(accepted, server_side=True), peer

        def handle_error(self, *_: Any) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://acme.example:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def trusting(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr(http_transport, "_tls", lambda: context)


async def test_the_certificate_is_checked_against_the_host_s_name_and_not_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolved: Callable[..., list[str]]
) -> None:
    with secured(tmp_path, "acme.example", issued=True) as url:
        trusting(tmp_path / "ca.pem", monkeypatch)
        resolved(["127.0.0.1"])
        async with client_of(url, allowing("127.0.0.0/8")) as client:
            assert await client.query(COMPANIES) == []


@pytest.mark.parametrize(
    ("made", "trusted", "words"),
    [
        ({"name": "acme.example", "days": (-9, -1), "issued": True}, True, "it has expired"),
        ({"name": "acme.example", "days": (1, 9), "issued": True}, True, "it is not valid yet"),
        ({"name": "other.example", "issued": True}, True, "it is for another name"),
        ({"name": "acme.example"}, False, "it is self-signed"),
        ({"name": "acme.example", "issued": True}, False, "no authority that is known here vouches for it"),
    ],
    ids=lambda value: str(value),
)
async def test_a_certificate_that_is_not_accepted_is_named_with_what_is_wrong_with_it(
    made: dict[str, Any],
    trusted: bool,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    resolved: Callable[..., list[str]],
) -> None:
    with secured(tmp_path, **made) as url:
        if trusted:
            trusting(tmp_path / "ca.pem", monkeypatch)
        resolved(["127.0.0.1"])
        async with client_of(url, allowing("127.0.0.0/8")) as client:
            error = await failure(client)
            assert client.calls == {}
    assert isinstance(error, TransientError)
    assert words in str(error) and "acme.example" in str(error) and "ConnectError" not in str(error)


async def test_a_server_that_speaks_no_tls_is_named_as_such() -> None:
    with Served(lambda request: request.json({})) as server:
        async with client_of(server.url.replace("http:", "https:"), allowing("127.0.0.0/8")) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and "does not speak TLS" in str(error)
