"""Certificates that are asked for and vouched for by nobody: RequestClientCert and RequireAnyClientCert, over real connections."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.exporter.certificates import Authority, openssl, self_made
from tests.hostile.crowd import Victim, victim

from domcaps_exporter.bearers import Conversation
from domcaps_exporter.tls import Context, context, welcome
from domcaps_exporter.webconfig import Tls

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
SHORT = ("--handshake=2", "--head=5")
POLICIES = ("RequestClientCert", "RequireAnyClientCert")
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

each_policy = pytest.mark.parametrize("policy", POLICIES)
each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the certificates of the server and of many kinds of callers."""
    folder = tmp_path_factory.mktemp("bearers")
    authority = Authority(folder)
    authority.certify("server", "IP:127.0.0.1")
    authority.certify("known", "DNS:scraper.example")
    authority.certify_for("expired", -3600)
    self_made(folder, "own", "subjectAltName=DNS:scraper.example,IP:10.0.0.1,IP:2001:db8::1,email:ops@example.org,URI:spiffe://a/b")
    self_made(folder, "nameless")
    self_made(folder, "rsa", key=("rsa:2048",))
    self_made(folder, "ed25519", key=("ed25519",))
    self_made(folder, "ed448", key=("ed448",))
    self_made(folder, "garbled", "subjectAltName=DER:30038201ff")
    return folder


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[dict[str, Victim]]:
    with configured(folder, POLICIES[0]) as request, configured(folder, POLICIES[1]) as require:
        yield {POLICIES[0]: request, POLICIES[1]: require}


@contextmanager
def configured(folder: Path, policy: str, more: str = "") -> Iterator[Victim]:
    """An exporter with that policy; what it says on stderr is at most that it lets everybody in."""
    file = folder / f"{policy}{len(more)}.yml"
    file.write_text(f"{TLS}  client_auth_type: {policy}\n{more}")
    with victim(f"--web={file}", *SHORT) as running:
        yield running
        running.process.terminate()
        assert running.process.stderr is not None
        said = running.process.stderr.read().splitlines()
    assert all(line.startswith(f"client_auth_type: {policy} ") for line in said), said


def bearing(certificate: Path | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A caller with that certificate, who trusts anybody and speaks that version only."""
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname, caller.verify_mode = False, ssl.CERT_NONE
    caller.minimum_version = caller.maximum_version = version
    if certificate:
        caller.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return caller


def scraped(port: int, caller: ssl.SSLContext) -> bool:
    """Whether it is let in; whoever is not has no HTTP at all."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=caller)
    try:
        connection.request("GET", "/-/healthy")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def connected(port: int, caller: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
    """A connection on which an end without a close_notify is an error."""
    plain = socket.create_connection(("127.0.0.1", port), 20)
    with caller.wrap_socket(plain, suppress_ragged_eofs=False, session=session) as secure:
        yield secure


# ---- who comes in ------------------------------------------------------------------------------------------------------------


@each_version
@each_policy
@pytest.mark.parametrize("name", ["own", "known", "expired", "nameless", "rsa", "ed25519"])
def test_whoever_bears_a_certificate_is_let_in(
    servers: dict[str, Victim], folder: Path, policy: str, version: ssl.TLSVersion, name: str
) -> None:
    assert scraped(servers[policy].port, bearing(folder / f"{name}.pem", version))


@each_version
@pytest.mark.parametrize(("policy", "welcome"), [(POLICIES[0], True), (POLICIES[1], False)])
def test_whoever_bears_none_is_let_in_where_none_is_required(
    servers: dict[str, Victim], policy: str, version: ssl.TLSVersion, welcome: bool
) -> None:
    assert scraped(servers[policy].port, bearing(None, version)) is welcome


@each_version
@each_policy
@pytest.mark.parametrize("name", ["ed448", "garbled"])
def test_a_certificate_that_go_could_not_take_is_not_taken(
    servers: dict[str, Victim], folder: Path, policy: str, version: ssl.TLSVersion, name: str
) -> None:
    assert not scraped(servers[policy].port, bearing(folder / f"{name}.pem", version))


@each_version
@pytest.mark.parametrize(("name", "allowed"), [("own", True), ("nameless", False)])
def test_names_are_looked_for_in_a_certificate_that_nobody_vouches_for(
    naming: Victim, folder: Path, version: ssl.TLSVersion, name: str, allowed: bool
) -> None:
    assert scraped(naming.port, bearing(folder / f"{name}.pem", version)) is allowed


@pytest.fixture(scope="module")
def naming(folder: Path) -> Iterator[Victim]:
    with configured(folder, "RequireAnyClientCert", "  client_allowed_sans: [other, scraper.example]\n") as running:
        yield running


@pytest.mark.parametrize("name", ["scraper.example", "10.0.0.1", "2001:db8::1", "ops@example.org", "spiffe://a/b"])
def test_every_kind_of_name_is_read_as_go_writes_it(folder: Path, name: str) -> None:
    shown = met(context(Tls(folder / "server.pem", folder / "server.key", client_auth=POLICIES[1])), bearing(folder / "own.pem"))
    assert welcome(frozenset({name}), shown.getpeercert())
    assert not welcome(frozenset({"other"}), shown.getpeercert())


def met(context: Context, caller: ssl.SSLContext) -> Conversation:
    """A handshake without a network.

    Raises:
        ssl.SSLError: they do not agree.
    """
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = context.wrap_bio(there, back, server_side=True), caller.wrap_bio(back, there)
    assert isinstance(server, Conversation)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return server


@each_policy
def test_an_authority_is_told_to_callers_and_asked_for_nothing(folder: Path, policy: str) -> None:
    with configured(folder, policy, "  client_ca_file: ca.pem\n") as running:
        said = session(running.port)
        assert re.search(r"Acceptable client certificate CA names\nCN ?= ?authority\n", said), said
        assert scraped(running.port, bearing(folder / "own.pem"))


# ---- how it is asked -----------------------------------------------------------------------------------------------------------


def session(port: int, *words: str, typed: bytes = b"") -> str:
    """What the openssl program tells of a connection."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words], input=typed, capture_output=True, timeout=30, check=False
    )
    return (done.stdout + done.stderr).decode()


@each_policy
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_certificate_is_really_asked_for(servers: dict[str, Victim], policy: str, version: str) -> None:
    said = session(servers[policy].port, version)
    assert "No client certificate CA names sent" in said
    assert re.search("^(Shared )?Requested Signature Algorithms: .*ECDSA", said, re.MULTILINE), said


def test_who_wants_none_asks_for_none(folder: Path) -> None:
    with configured(folder, "NoClientCert") as running:
        assert "Requested Signature Algorithms" not in session(running.port, "-tls1_3")


@each_version
def test_no_session_is_resumed(servers: dict[str, Victim], folder: Path, version: ssl.TLSVersion) -> None:
    caller, kept = bearing(folder / "own.pem", version), None
    for _ in range(3):
        with connected(servers["RequireAnyClientCert"].port, caller, kept) as connection:
            connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while connection.recv(65536):
                pass
            assert not connection.session_reused
            kept = connection.session or kept
            connection.unwrap()


def test_a_caller_cannot_begin_anew_within_a_connection(servers: dict[str, Victim]) -> None:
    said = session(servers["RequestClientCert"].port, "-tls1_2", typed=b"R\n")
    assert "no renegotiation" in said, said


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)])
def test_http_1_1_is_what_is_spoken(servers: dict[str, Victim], offered: list[str], chosen: str | None) -> None:
    caller = bearing(None)
    if offered:
        caller.set_alpn_protocols(offered)
    with connected(servers["RequestClientCert"].port, caller) as connection:
        assert connection.selected_alpn_protocol() == chosen
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@each_version
@pytest.mark.parametrize("offered", ["secp384r1", "X25519"])
def test_each_of_the_curves_is_spoken_and_no_other(folder: Path, version: ssl.TLSVersion, offered: str) -> None:
    made = context(Tls(folder / "rsa.pem", folder / "rsa.key", client_auth=POLICIES[0], curves=("CurveP384", "X25519")))
    caller, other = bearing(None, version), bearing(None, version)
    caller.set_ecdh_curve(offered)
    other.set_ecdh_curve("prime256v1")
    assert met(made, caller).cipher() is not None
    with pytest.raises(ssl.SSLError, match=r"(?i)no (suitable|shared)"):
        met(made, other)


# ---- what is said then ---------------------------------------------------------------------------------------------------------


@each_version
def test_many_great_answers_come_whole_over_one_connection(
    servers: dict[str, Victim], folder: Path, version: ssl.TLSVersion
) -> None:
    caller = bearing(folder / "own.pem", version)
    connection = http.client.HTTPSConnection("127.0.0.1", servers["RequireAnyClientCert"].port, timeout=20, context=caller)
    for _ in range(5):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read()
        assert (answer.status, body.endswith(b"\n")) == (200, True)
        assert len(body) == int(answer.headers["Content-Length"]) > 50_000
    connection.close()


@each_version
def test_questions_on_top_of_each_other_are_all_answered(servers: dict[str, Victim], version: ssl.TLSVersion) -> None:
    question = b"GET /metrics HTTP/1.1\r\nHost: a\r\n"
    with connected(servers["RequestClientCert"].port, bearing(None, version)) as connection:
        connection.sendall((question + b"\r\n") * 9 + question + b"Connection: close\r\n\r\n")
        got = b""
        while part := connection.recv(65536):
            got += part
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 10


@each_version
def test_the_exporter_says_that_it_is_done_before_it_ends_a_connection(servers: dict[str, Victim], version: ssl.TLSVersion) -> None:
    with connected(servers["RequestClientCert"].port, bearing(None, version)) as connection:
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b""
        while part := connection.recv(65536):  # which would raise SSLEOFError
            got += part
        assert got.endswith(b"Healthy\n")


@each_version
def test_a_caller_who_says_that_he_is_done_is_told_the_same(servers: dict[str, Victim], version: ssl.TLSVersion) -> None:
    with connected(servers["RequestClientCert"].port, bearing(None, version)) as connection:
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.unwrap()


# ---- what it costs those who do not ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "imported"), [("RequestClientCert", True), ("VerifyClientCertIfGiven", False), ("", False)])
def test_pyopenssl_is_in_memory_only_where_it_is_needed(folder: Path, policy: str, imported: bool) -> None:
    file = folder / "import.yml"
    file.write_text(TLS + f"  client_auth_type: '{policy}'\n")
    code = (
        "from domcaps_exporter import web; web.Standing(web.Path(sys.argv[1])); print({'OpenSSL', 'cryptography'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}", file], capture_output=True, text=True, check=True)
    assert ("OpenSSL" in done.stdout, "cryptography" in done.stdout) == (imported, imported)


def test_where_pyopenssl_is_lacking_it_is_said_what_wants_it_and_how_to_get_it(folder: Path) -> None:
    file = folder / "lacking.yml"
    file.write_text(TLS + "  client_auth_type: RequireAnyClientCert\n")
    code = "import sys; sys.modules['OpenSSL'] = None; from domcaps_exporter.cli import main; sys.exit(main())"
    words = ("--web.listen-address=127.0.0.1:0", f"--web.config.file={file}")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "client_auth_type: RequireAnyClientCert needs pyOpenSSL (pip install pyopenssl)" in done.stderr


def test_the_key_is_read_in_all_forms_that_openssl_takes(folder: Path) -> None:
    openssl("ec", "-in", folder / "server.key", "-out", folder / "sec1.key")
    both = folder / "both.pem"
    both.write_bytes(b"Some words.\n" + (folder / "server.pem").read_bytes() + (folder / "sec1.key").read_bytes())
    file = folder / "both.yml"
    file.write_text("tls_server_config: {cert_file: both.pem, key_file: both.pem, client_auth_type: RequestClientCert}\n")
    with victim(f"--web={file}") as running:
        assert scraped(running.port, bearing(None))
