"""TLS, passwords, rates and bounds, over real connections."""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
import ssl
import statistics
import threading
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import bcrypt
import pytest
from tests.exporter.certificates import Authority, openssl

from domcaps_exporter.config import ConfigError
from domcaps_exporter.connections import Limits
from domcaps_exporter.model import Outcome
from domcaps_exporter.passwords import Crowded, Passwords
from domcaps_exporter.service import Service
from domcaps_exporter.standing import Standing
from domcaps_exporter.web import Front, serve

T = TypeVar("T")
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users: {{alice: '{HASH}'}}\n"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
ASKING = TLS + "  client_auth_type: RequestClientCert\n"
VERIFIED = TLS + "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
ANY_CERTIFICATE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANY_CERTIFICATE.check_hostname = False
ANY_CERTIFICATE.verify_mode = ssl.CERT_NONE
HEALTH = "/-/healthy"

either_tls = pytest.mark.parametrize("served_by", [TLS, ASKING], ids=["ssl", "pyOpenSSL"])


@dataclass(frozen=True)
class Got:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Held(Service):
    """A service whose scrapes wait to be let go."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.go = asyncio.Event()
        self.waiting = 0

    async def scrape(self, patience: float, drivers: Collection[str] | None = None) -> tuple[Outcome, ...]:
        self.waiting += 1
        try:
            await self.go.wait()
        finally:
            self.waiting -= 1
        return ()


class Exporter:
    """A server, seen by callers who block."""

    def __init__(self, url: str) -> None:
        self.secure = url.startswith("https:")
        self.port = int(url.rstrip("/").rpartition(":")[2])

    async def get(
        self,
        path: str = "/metrics",
        login: str = "",
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext = ANY_CERTIFICATE,
    ) -> Got:
        basic = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
        return await asyncio.to_thread(self._get, path, {**basic, **(headers or {})}, tls)

    def _get(self, path: str, headers: Mapping[str, str], tls: ssl.SSLContext) -> Got:
        plain = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        secure = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=tls)
        caller = secure if self.secure else plain
        try:
            caller.request("GET", path, headers=dict(headers))
            answer = caller.getresponse()
            return Got(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            caller.close()


@asynccontextmanager
async def served(
    file: Path | None, service: Service | None = None, max_requests: int = 40, limits: Limits | None = None
) -> AsyncIterator[Exporter]:
    stop, urls = asyncio.Event(), asyncio.Queue[str]()

    def ready(found: Sequence[str]) -> None:
        urls.put_nowait(found[0])

    front = Front(file, max_requests, limits or Limits())
    server = asyncio.create_task(
        serve(service or Service([], []), ["127.0.0.1:0"], "/metrics", stop, ready, front=front), name="server"
    )
    first = asyncio.create_task(urls.get())
    await asyncio.wait([server, first], return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        first.cancel()
        server.result()
    yield Exporter(first.result())
    stop.set()
    await server


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """With server.pem, scraper.pem (for scraper.example) and, of another authority, stranger.pem."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.certify("server", "DNS:localhost,IP:127.0.0.1")
    names = "DNS:scraper.example,IP:10.0.0.1,IP:2001:db8::1,email:ops@example.org,URI:spiffe://example/scraper"
    authority.certify("scraper", names)
    return authority


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority(tmp_path_factory.mktemp("strangers")).certify("stranger", "DNS:scraper.example")


@pytest.fixture
def file(tmp_path: Path, authority: Authority) -> Path:
    """Where the web configuration goes, beside the authority's certificates."""
    for one in authority.folder.iterdir():
        (tmp_path / one.name).write_bytes(one.read_bytes())
    return tmp_path / "web.yml"


def asking(file: Path, text: str, login: str = "", tls: ssl.SSLContext = ANY_CERTIFICATE, path: str = "/metrics") -> Got:
    """One answer of an exporter with that web configuration."""

    async def ask() -> Got:
        async with served(file) as exporter:
            return await exporter.get(path, login, tls=tls)

    file.write_text(text)
    return run(ask())


def showing(certificate: Path | None) -> ssl.SSLContext:
    """A caller with a certificate, who trusts anybody."""
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname = False
    caller.verify_mode = ssl.CERT_NONE
    if certificate:
        caller.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return caller


# ---- TLS -------------------------------------------------------------------------------------------------------------------


@either_tls
def test_tls_is_served_with_the_named_certificate(file: Path, served_by: str) -> None:
    trusting = ssl.create_default_context(cafile=file.with_name("ca.pem"))
    assert asking(file, served_by, tls=trusting).status == 200


@either_tls
def test_certificates_can_stand_in_the_file_itself(file: Path, served_by: str) -> None:
    pems = {key: file.with_name(name).read_text() for key, name in (("cert", "server.pem"), ("key", "server.key"))}
    blocks = "".join(f"  {key}: |\n" + "".join(f"    {line}\n" for line in pem.splitlines()) for key, pem in pems.items())
    trusting = ssl.create_default_context(cafile=file.with_name("ca.pem"))
    assert asking(file, f"tls_server_config:\n{blocks}{served_by.removeprefix(TLS)}", tls=trusting).status == 200


@either_tls
def test_a_changed_certificate_is_served_to_the_next_caller(
    file: Path, served_by: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("renewed"))
    renewed = other.certify("server", "IP:127.0.0.1")

    async def ask() -> tuple[int, int]:
        async with served(file) as exporter:
            before = await exporter.get(tls=ssl.create_default_context(cafile=file.with_name("ca.pem")))
            for suffix in (".pem", ".key"):
                renewed.with_suffix(suffix).replace(file.with_name(f"server{suffix}"))
            after = await exporter.get(tls=ssl.create_default_context(cafile=other.folder / "ca.pem"))
            return before.status, after.status

    file.write_text(served_by)
    assert run(ask()) == (200, 200)


@pytest.mark.parametrize(
    ("policy", "nobody", "known", "unknown"),
    [
        ("NoClientCert", True, True, True),
        ("RequestClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAnyClientCert", False, True, True),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
def test_client_certificates_are_judged_by_the_policy(
    file: Path, stranger: Path, policy: str, nobody: bool, known: bool, unknown: bool
) -> None:
    authority = "" if policy == "NoClientCert" else "  client_ca_file: ca.pem\n"
    text = f"{TLS}{authority}  client_auth_type: {policy}\n"
    callers = {None: nobody, file.with_name("scraper.pem"): known, stranger: unknown}
    assert {certificate: let_in(file, text, certificate) for certificate in callers} == callers


@pytest.mark.parametrize(
    ("policy", "open_to"),
    [
        ("RequestClientCert", "keeps nobody out: certificates are asked for and not verified"),
        ("RequireAnyClientCert", "lets in whoever makes himself a certificate, whatever client_ca is named"),
    ],
)
def test_who_asks_for_certificates_that_nobody_verifies_is_told(
    file: Path, policy: str, open_to: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = f"client_auth_type: {policy} {open_to}; RequireAndVerifyClientCert verifies them"
    caller = showing(file.with_name("scraper.pem"))

    async def ask() -> int:
        async with served(file) as exporter:
            assert told not in caplog.messages
            file.write_text(f"{TLS}  client_auth_type: {policy}\n")
            return (await exporter.get(tls=caller)).status

    file.write_text(TLS)
    assert run(ask()) == 200
    assert told in caplog.messages
    caplog.clear()
    assert asking(file, file.read_text(), tls=caller).status == 200
    assert caplog.messages.count(told) == 1


def test_a_certificate_counts_as_required_from_the_next_caller_on(file: Path) -> None:
    async def ask() -> list[int | str]:
        async with served(file) as exporter:
            statuses: list[int | str] = [(await exporter.get()).status]
            file.write_text(f"{TLS}  client_auth_type: RequireAnyClientCert\n")
            try:
                statuses.append((await exporter.get()).status)
            except OSError:
                statuses.append("refused")
            return [*statuses, (await exporter.get(tls=showing(file.with_name("scraper.pem")))).status]

    file.write_text(TLS)
    assert run(ask()) == [200, "refused", 200]


def test_a_session_ends_with_the_certificate_that_began_it(file: Path, authority: Authority) -> None:
    """TLS 1.2 lets a caller go on with a session, for two hours, without its certificate being verified again."""

    def resume(
        caller: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None
    ) -> tuple[ssl.SSLSession | None, bool, bytes]:
        with caller.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), session=session) as connection:
            resumed = bool(connection.session_reused)
            try:
                connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            except OSError:
                return None, resumed, b""
            return connection.session, resumed, answer[:12]

    async def ask() -> list[list[object]]:
        async with served(file) as exporter:
            caller, end = showing(authority.certify_for("brief", 6)), time.monotonic() + 6.1
            caller.maximum_version = ssl.TLSVersion.TLSv1_2
            session, *first = await asyncio.to_thread(resume, caller, exporter.port)
            _, *second = await asyncio.to_thread(resume, caller, exporter.port, session)
            await asyncio.sleep(end - time.monotonic())
            _, *third = await asyncio.to_thread(resume, caller, exporter.port, session)
            return [first, second, third]

    file.write_text(VERIFIED)
    assert run(ask()) == [[False, b"HTTP/1.1 200"], [True, b"HTTP/1.1 200"], [True, b""]]


def let_in(file: Path, text: str, certificate: Path | None) -> bool:
    try:
        return asking(file, text, tls=showing(certificate)).status == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("policy", ["VerifyClientCertIfGiven", "RequireAndVerifyClientCert"])
def test_an_authority_is_believed_whoever_vouches_for_it(
    file: Path, policy: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    deputy = authority.deputy(tmp_path_factory.mktemp("deputy"))
    callers = {deputy.certify("scraper", "DNS:scraper.example"): True, file.with_name("scraper.pem"): False}
    text = f"{TLS}  client_ca_file: {deputy.folder / 'ca.pem'}\n  client_auth_type: {policy}\n"
    assert {certificate: let_in(file, text, certificate) for certificate in callers} == callers


@pytest.mark.parametrize("name", ["scraper.example", "10.0.0.1", "2001:db8::1", "ops@example.org", "spiffe://example/scraper"])
def test_a_client_with_an_allowed_name_is_let_in(file: Path, name: str) -> None:
    assert let_in(file, f"{VERIFIED}  client_allowed_sans: [other, '{name}']\n", file.with_name("scraper.pem"))


@pytest.mark.parametrize("names", ["[other]", "[]", "[SCRAPER.example]", "[scraper]"])
def test_a_client_without_an_allowed_name_is_not(file: Path, names: str) -> None:
    assert not let_in(file, f"{VERIFIED}  client_allowed_sans: {names}\n", file.with_name("scraper.pem"))


@either_tls
@pytest.mark.parametrize(
    ("settings", "oldest", "newest", "works"),
    [
        ("", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, True),
        ("", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, True),
        ("  min_version: TLS13\n", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, False),
        ("  max_version: TLS12\n", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, False),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, False),
    ],
)
def test_versions_are_bounded(
    file: Path, served_by: str, settings: str, oldest: ssl.TLSVersion, newest: ssl.TLSVersion, works: bool
) -> None:
    caller = showing(None)
    caller.minimum_version, caller.maximum_version = oldest, newest
    assert meets(file, served_by + settings, caller) is works


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@either_tls
@pytest.mark.parametrize("settings", ["  min_version: TLS10\n", "  min_version: TLS11\n"])
def test_an_old_version_is_spoken_where_it_is_asked_for(file: Path, served_by: str, settings: str) -> None:
    caller = showing(None)
    caller.minimum_version = caller.maximum_version = ssl.TLSVersion.TLSv1_1
    caller.set_ciphers("DEFAULT:@SECLEVEL=0")
    assert meets(file, served_by + settings, caller)
    assert not meets(file, served_by, caller)


@either_tls
@pytest.mark.parametrize(("offered", "works"), [("ECDHE-ECDSA-AES256-GCM-SHA384", True), ("ECDHE-ECDSA-AES128-GCM-SHA256", False)])
def test_only_the_named_ciphers_are_spoken(file: Path, served_by: str, offered: str, works: bool) -> None:
    caller = showing(None)
    caller.maximum_version = ssl.TLSVersion.TLSv1_2
    caller.set_ciphers(offered)
    assert meets(file, served_by + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n", caller) is works


@pytest.mark.parametrize(("offered", "works"), [("secp384r1", True), ("prime256v1", False)])
def test_only_the_first_curve_is_spoken(file: Path, offered: str, works: bool) -> None:
    caller = showing(None)
    caller.set_ecdh_curve(offered)
    assert meets(file, TLS + "  curve_preferences: [CurveP384]\n", caller) is works


def meets(file: Path, text: str, caller: ssl.SSLContext) -> bool:
    try:
        return asking(file, text, tls=caller).status == 200
    except OSError:
        return False


# ---- passwords -------------------------------------------------------------------------------------------------------------


def test_the_right_password_is_let_in(file: Path) -> None:
    assert asking(file, USERS, "alice:secret").status == 200


@pytest.mark.parametrize(
    "login",
    ["", "alice:wrong", "alice:", "bob:secret", ":", "alice:secret ", "alice:sec\0ret", f"alice:{'x' * 73}", f"bob:{'x' * 9000}"],
)
def test_no_other_is_and_none_is_an_error(file: Path, login: str) -> None:
    got = asking(file, USERS, login[:5000])
    assert (got.status, got.headers["WWW-Authenticate"]) == (401, 'Basic realm="domcaps-exporter"')
    assert got.body == b"Unauthorized\n"


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !", "Basic YWxpY2U=", "Bearer abc", "basic \xe9", "Basic " + "A" * 4001, "Digest a=b"]
)
def test_nonsense_for_credentials_is_unauthorized(file: Path, header: str) -> None:
    async def ask() -> int:
        async with served(file) as exporter:
            return (await exporter.get(headers={"Authorization": header})).status

    file.write_text(USERS)
    assert run(ask()) == 401


@pytest.mark.parametrize("path", ["/", "/metrics", "/documents", "/nothing", "/-/healthy", "/probe?target=a"])
def test_whoever_is_not_let_in_learns_nothing_about_paths(file: Path, path: str) -> None:
    assert asking(file, USERS, path=path).status == 401


def test_a_password_of_72_bytes_works() -> None:
    users = {"a": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()}
    assert run(Passwords().right(users, "a", b"x" * 72))
    assert not run(Passwords().right(users, "a", b"x" * 73))


def test_a_password_that_was_right_is_known_again_at_once() -> None:
    async def both() -> tuple[float, float]:
        passwords = Passwords()
        return await timed(passwords, "alice", b"secret"), await timed(passwords, "alice", b"secret")

    first, second = run(both())
    assert second < first / 10


async def timed(passwords: Passwords, name: str, password: bytes) -> float:
    before = time.perf_counter()
    await passwords.right(SLOW, name, password)
    return time.perf_counter() - before


SLOW = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(9)).decode()}


def test_an_unknown_name_takes_as_long_as_a_known_one() -> None:
    async def compare() -> float:
        passwords = Passwords()
        known, unknown = [], []
        for number in range(7):
            known.append(await timed(passwords, "alice", b"wrong"))
            unknown.append(await timed(passwords, f"nobody{number}", b"wrong"))
        return statistics.median(unknown) / statistics.median(known)

    assert 0.5 < run(compare()) < 2


def test_the_loop_runs_on_while_a_password_is_checked() -> None:
    costly = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(11)).decode()}

    async def count() -> int:
        turns, checking = 0, asyncio.ensure_future(Passwords().right(costly, "alice", b"wrong"))
        while not checking.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert run(count()) > 10


def test_guessers_are_turned_away_and_cost_one_thread_and_those_known_pass_meanwhile() -> None:
    async def crowd() -> tuple[int, int, int, bool]:
        passwords = Passwords()
        assert await passwords.right(SLOW, "alice", b"secret")
        before = threading.active_count()
        guesses = [asyncio.ensure_future(passwords.right(SLOW, "alice", f"guess{number}".encode())) for number in range(50)]
        await asyncio.sleep(0)
        known = await passwords.right(SLOW, "alice", b"secret")
        waiting = sum(not guess.done() for guess in guesses)
        more = threading.active_count() - before
        for guess in guesses:
            guess.cancel()
        results = await asyncio.gather(*guesses, return_exceptions=True)
        return sum(isinstance(one, Crowded) for one in results), waiting, more, known

    crowded, waiting, threads, known = run(crowd())
    assert crowded >= 50 - 34
    assert waiting > 0
    assert threads == 0
    assert known


# ---- rates, bounds, headers --------------------------------------------------------------------------------------------------


def test_beyond_the_rate_it_is_429_before_anybody_is_asked_for_a_password(file: Path) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            return [(await exporter.get(HEALTH)).status for _ in range(4)]

    file.write_text(USERS + "rate_limit: {interval: 1h, burst: 3}\n")
    assert run(ask()) == [401, 401, 401, 429]


def test_a_rate_refills(file: Path) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            statuses = [(await exporter.get(HEALTH)).status for _ in range(2)]
            while statuses[-1] == 429:
                await asyncio.sleep(0.1)
                statuses.append((await exporter.get(HEALTH)).status)
            return statuses

    file.write_text("rate_limit: {interval: 3s, burst: 1}\n")
    first, *refused, last = run(ask())
    assert (first, set(refused), last) == (200, {429}, 200)


def test_beyond_the_requests_under_way_it_is_503_and_health_is_answered() -> None:
    async def ask() -> tuple[int, int, list[int]]:
        service = Held()
        async with served(None, service, max_requests=2) as exporter:
            held = [asyncio.create_task(exporter.get()) for _ in range(2)]
            while service.waiting < 2:
                await asyncio.sleep(0.005)
            refused, health = await exporter.get(), await exporter.get(HEALTH)
            service.go.set()
            return refused.status, health.status, [(await one).status for one in held]

    assert run(ask()) == (503, 200, [200, 200])


def test_a_caller_who_leaves_makes_room() -> None:
    async def ask() -> int:
        service = Held()
        async with served(None, service, max_requests=1) as exporter:
            _, writer = await asyncio.open_connection("127.0.0.1", exporter.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            while not service.waiting:
                await asyncio.sleep(0.005)
            writer.close()
            while service.waiting:
                await asyncio.sleep(0.005)
            service.go.set()
            return (await exporter.get()).status

    assert run(ask()) == 200


def test_a_request_under_way_is_not_given_up_for_those_who_only_connect() -> None:
    async def ask() -> int:
        service = Held()
        async with served(None, service, limits=Limits(connections=5)) as exporter:
            held = asyncio.create_task(exporter.get())
            while not service.waiting:
                await asyncio.sleep(0.005)
            crowd = [await asyncio.open_connection("127.0.0.1", exporter.port) for _ in range(20)]
            assert (await exporter.get(HEALTH)).status == 200
            service.go.set()
            status = (await held).status
            for _, writer in crowd:
                writer.close()
            return status

    assert run(ask()) == 200


def test_configured_headers_are_on_every_answer_and_the_page_keeps_its_own_policy(file: Path) -> None:
    headers = "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: none}}\n"
    for path in ("/metrics", "/nothing"):
        got = asking(file, headers, path=path)
        assert (got.headers["X-Frame-Options"], got.headers["Content-Security-Policy"]) == ("deny", "none")
    assert asking(file, headers, path="/").headers["Content-Security-Policy"].startswith("default-src 'self'")


# ---- a file that changes ---------------------------------------------------------------------------------------------------


def test_a_changed_file_counts_from_the_next_request(file: Path) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            statuses = [(await exporter.get()).status]
            file.write_text(USERS)
            return [*statuses, (await exporter.get()).status, (await exporter.get(login="alice:secret")).status]

    file.write_text("")
    assert run(ask()) == [200, 401, 200]


@pytest.mark.parametrize("broken", ["nonsense: 1", USERS + TLS, ":::"])
def test_a_file_that_breaks_is_500_with_the_reason_in_the_log_once_and_never_open(
    file: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            statuses = [(await exporter.get(login="alice:secret")).status]
            file.write_text(broken)
            statuses += [(await exporter.get(login="alice:secret")).status, (await exporter.get(HEALTH)).status]
            file.write_text(USERS)
            return [*statuses, (await exporter.get()).status]

    file.write_text(USERS)
    assert run(ask()) == [200, 500, 500, 401]
    assert caplog.text.count(f"every request is refused: {file}: ") == 1


def test_a_file_that_is_gone_is_500(file: Path) -> None:
    async def ask() -> int:
        async with served(file) as exporter:
            file.unlink()
            return (await exporter.get(login="alice:secret")).status

    file.write_text(USERS)
    assert run(ask()) == 500


@either_tls
def test_a_certificate_that_breaks_is_500_over_the_last_one_that_held(file: Path, served_by: str) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            trusting = ssl.create_default_context(cafile=file.with_name("ca.pem"))
            good = file.with_name("server.key").read_bytes()
            file.with_name("server.key").write_text("nothing")
            broken = (await exporter.get(tls=trusting)).status
            file.with_name("server.key").write_bytes(good)
            return [broken, (await exporter.get(tls=trusting)).status]

    file.write_text(served_by)
    assert run(ask()) == [500, 200]


def test_tls_that_is_taken_out_of_the_file_is_not_taken_from_callers(file: Path) -> None:
    async def ask() -> int:
        async with served(file) as exporter:
            file.write_text("")
            return (await exporter.get()).status

    file.write_text(TLS)
    assert run(ask()) == 500


GIVEN_UP = "what keeps callers out cannot be given up while it serves; put it back, or start the exporter again"


@pytest.mark.parametrize(
    ("whole", "half"),
    [(TLS + USERS, TLS), (TLS + USERS, f"{TLS}basic_auth_users:\n"), (USERS, ""), (USERS, "basic_auth_users: {}")],
    ids=["cut", "cut within", "emptied", "of nobody"],
)
def test_half_a_file_without_its_users_lets_nobody_in(file: Path, whole: str, half: str, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            statuses = []
            for text in (whole, half, whole):
                file.write_text(text)
                statuses += [(await exporter.get(HEALTH)).status, (await exporter.get(login="alice:secret")).status]
            return statuses

    file.write_text(whole)
    assert run(ask()) == [401, 200, 500, 500, 401, 200]
    assert caplog.text.count(f"every request is refused: {file}: basic_auth_users: {GIVEN_UP}") == 1


def test_some_of_the_users_can_be_taken_out_and_others_put_in(file: Path) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            statuses = []
            for names in (("alice", "bob"), ("alice",), ("bob",)):
                file.write_text(f"basic_auth_users: {{{', '.join(f'{name}: {HASH!r}' for name in names)}}}")
                statuses += [(await exporter.get(login=f"{name}:secret")).status for name in ("alice", "bob")]
            return statuses

    file.write_text(USERS)
    assert run(ask()) == [200, 200, 200, 401, 401, 200]


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        (VERIFIED, TLS, "client_auth_type"),
        (VERIFIED, ASKING, "client_auth_type"),
        (VERIFIED, VERIFIED.replace("RequireAndVerifyClientCert", "RequireAnyClientCert"), "client_auth_type"),
        (VERIFIED, VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"), "client_auth_type"),
        (VERIFIED, VERIFIED.replace("  client_ca_file: ca.pem\n", ""), "client_ca_file"),
        (f"{VERIFIED}  client_allowed_sans: [scraper.example]\n", VERIFIED, "client_allowed_sans"),
        (f"{TLS}  client_auth_type: RequireAnyClientCert\n", TLS, "client_auth_type"),
    ],
)
def test_what_was_asked_of_a_clients_certificate_is_not_given_up(
    file: Path, before: str, after: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> list[int]:
        async with served(file) as exporter:
            caller = showing(file.with_name("scraper.pem"))
            statuses = [(await exporter.get(tls=caller)).status]
            file.write_text(after)
            statuses.append((await exporter.get(tls=caller)).status)
            with pytest.raises((OSError, http.client.HTTPException)):
                await exporter.get(tls=showing(None))
            file.write_text(before)
            return [*statuses, (await exporter.get(tls=caller)).status]

    file.write_text(before)
    assert run(ask()) == [200, 500, 200]
    assert f"every request is refused: {file}: tls_server_config.{key}: {GIVEN_UP}" in caplog.text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{TLS}  client_auth_type: RequireAnyClientCert\n", VERIFIED),
        (f"{VERIFIED}  client_allowed_sans: [other.example]\n", f"{VERIFIED}  client_allowed_sans: [scraper.example]\n"),
        (VERIFIED, VERIFIED.replace("ca.pem", "server.pem")),
    ],
)
def test_who_may_come_in_can_be_changed(file: Path, before: str, after: str) -> None:
    file.write_text(before)
    standing = Standing(file)
    file.write_text(after)
    assert standing.current().web == Standing(file).last.web


@pytest.mark.parametrize("users_first", [False, True])
def test_no_beginning_of_a_file_asks_less_of_callers_than_all_of_it(file: Path, users_first: bool) -> None:
    """A program that writes it in its place, as `cp` does, goes through some of them."""
    users = f"basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n"
    certificates = f"{VERIFIED}  client_allowed_sans:\n  - scraper.example\n  - other.example\n"
    text = users + certificates if users_first else certificates + users
    file.write_text(text)
    standing = Standing(file)
    assert standing.last.web.tls is not None
    held = {}
    for length in range(len(text) + 1):
        file.write_text(text[:length])
        with suppress(ConfigError):
            held[length] = standing.current().web
    assert min(held) < len(text) == max(held)
    for web in held.values():
        assert web.users
        assert set(web.users) <= {"alice", "bob"}
        assert web.tls is not None
        assert (web.tls.client_auth, web.tls.client_ca) == (standing.last.web.tls.client_auth, standing.last.web.tls.client_ca)
        assert web.tls.client_allowed_sans


def test_a_file_that_means_nothing_is_refused_at_the_start(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.yml: tls_server_config\.cert_file: TLS needs cert"):
        asking(file, "tls_server_config: {key_file: a}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cert_file: absent.pem, key_file: server.key", "cert_file: FOLDER/absent.pem: No such file or directory"),
        ("cert_file: server.pem, key_file: absent.key", "key_file: FOLDER/absent.key: No such file or directory"),
        ("cert_file: ., key_file: server.key", "cert_file: FOLDER: a directory, not a regular file"),
        (
            "cert_file: server.pem, key_file: ca.key",
            "key_file: FOLDER/ca.key: this private key does not belong to the certificate of cert_file FOLDER/server.pem",
        ),
        (
            "cert_file: server.pem, key_file: server.pem",
            "key_file: FOLDER/server.pem: no private key in it; expected PEM, -----BEGIN PRIVATE KEY-----",
        ),
        (
            "cert_file: server.key, key_file: server.key",
            "cert_file: FOLDER/server.key: no certificate in it; expected PEM, -----BEGIN CERTIFICATE-----",
        ),
        ("cert_file: broken.pem, key_file: server.key", "cert_file: FOLDER/broken.pem: the certificate in it cannot be read"),
        ("cert_file: server.pem, key_file: broken.key", "key_file: FOLDER/broken.key: the private key in it cannot be read"),
        ("cert: nothing, key_file: server.key", "cert: no certificate in it; expected PEM, -----BEGIN CERTIFICATE-----"),
        (
            "cert_file: server.pem, key_file: server.key, client_ca_file: server.key, client_auth_type: RequireAndVerifyClientCert",
            "client_ca_file: FOLDER/server.key: no certificate or crl found",
        ),
        (
            "cert_file: server.pem, key_file: server.key, client_ca_file: a.pem, client_auth_type: RequireAndVerifyClientCert",
            "client_ca_file: FOLDER/a.pem: No such file or directory",
        ),
    ],
)
def test_certificates_that_cannot_be_used_are_named_with_their_key(file: Path, text: str, reason: str) -> None:
    for name in ("server.pem", "server.key"):
        lines = file.with_name(name).read_text().splitlines()
        file.with_name(name.replace("server", "broken")).write_text("\n".join((lines[0], "AAAA", lines[-1], "")))
    with pytest.raises(ConfigError) as caught:
        asking(file, f"tls_server_config: {{{text}}}")
    assert str(caught.value) == f"{file}: tls_server_config.{reason.replace('FOLDER', str(file.parent))}"


@pytest.mark.parametrize("auth", ["NoClientCert", "RequestClientCert"])
def test_an_encrypted_key_is_refused_and_nobody_is_asked(file: Path, auth: str) -> None:
    openssl("ec", "-aes256", "-passout", "pass:a", "-in", file.with_name("server.key"), "-out", file.with_name("locked.key"))
    with pytest.raises(ConfigError, match=r"tls_server_config\.key_file: .*locked\.key: it is encrypted"):
        asking(file, f"tls_server_config: {{cert_file: server.pem, key_file: locked.key, client_auth_type: {auth}}}")


@either_tls
def test_a_plain_request_to_tls_ends_the_connection(file: Path, served_by: str) -> None:
    async def ask() -> bytes:
        async with served(file) as exporter:
            reader, writer = await asyncio.open_connection("127.0.0.1", exporter.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                return await asyncio.wait_for(reader.read(), 3)
            except ConnectionError:
                return b""
            finally:
                writer.close()

    file.write_text(served_by)
    assert b"HTTP" not in run(ask())
