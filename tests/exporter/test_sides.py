"""What `diff` takes: real files, a real HTTP server that answers whatever the test says, and a virsh that is a shell script."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.exporter.certificates import Authority

from domcaps_exporter.diff import compared
from domcaps_exporter.document import MAX_BYTES, write
from domcaps_exporter.model import Document, Failure, Identity, Outcome, Report, Verdict
from domcaps_exporter.remote import LIMIT, RemoteError, shown, told
from domcaps_exporter.selector import LABELS
from domcaps_exporter.sides import Answered, SideError, side, sides

DOCUMENT = Document("kvm", "x86_64", "/bin/qemu", "pc-q35-7.2", 8)
IDENTITY = Identity("/bin/qemu", "x86_64", "q35", "kvm")
REPORT = Report(IDENTITY, Verdict("guest", "", "", True), DOCUMENT)
LABELLED = 'arch="x86_64",driver="qemu",emulator="/bin/qemu",machine="q35",virttype="kvm"'
METRICS = f"domcaps_exporter_build_info 1\ndomcaps_guest_supported{{{LABELLED}}} 1\ndomcaps_vcpus_max{{{LABELLED}}} 8\n"
ENTRY = {
    "id": "qemu-x",
    **dict(zip(LABELS, ("qemu", "/bin/qemu", "x86_64", "q35", "kvm"), strict=True)),
    "links": {"xml": "http://elsewhere/"},
}
USUAL: dict[str, bytes] = {
    "/metrics": METRICS.encode(),
    "/documents": json.dumps([ENTRY]).encode(),
    "/documents/qemu-x.xml": write(DOCUMENT),
}


def nothing(_: Path | None) -> Sequence[Outcome]:
    raise AssertionError("nobody is asked")


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Who was hung up on says nothing of it: another test's stderr would have it."""


@contextmanager
def answering(
    answers: dict[str, bytes],
    status: int = 200,
    pace: Callable[[BaseHTTPRequestHandler], None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """A server; the address. What it does not know is a 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if pace is not None:
                pace(self)
            body = answers.get(self.path)
            self.send_response(404 if body is None else status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name where it comes from
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # it looks so often for its end
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# ---- files, recordings, this host --------------------------------------------------------------------------------------------


def test_a_document_is_one_guest_and_not_a_whole_host(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(write(DOCUMENT) + b"\n\n")
    found = side(str(tmp_path / "a.xml"), nothing, 5)
    assert (len(found.guests), found.whole, found.guests[0].name) == (1, False, "x86_64 pc-q35-7.2 kvm")


def test_several_documents_may_stand_in_a_file(tmp_path: Path) -> None:
    other = write(replace(DOCUMENT, domain="qemu"))
    declared = b"<?xml version='1.0'?>\n"
    (tmp_path / "all.xml").write_bytes(declared + write(DOCUMENT) + b"\n" + declared + other + b"<!-- the end -->\n")
    found = side(str(tmp_path / "all.xml"), nothing, 5)
    assert ([guest.name for guest in found.guests], found.whole) == (["x86_64 pc-q35-7.2 kvm", "x86_64 pc-q35-7.2 qemu"], False)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (write(DOCUMENT) * 2 + b"<domainCapabilities>", "document 2 of 2: expected XML, found: Extra content"),
        (write(DOCUMENT) + b"<x/>" + write(DOCUMENT), "document 2 of 2: expected XML, found: Extra content"),
        (write(DOCUMENT) + b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + write(DOCUMENT), "document 2 of 2: found a DOCTYPE"),
        (b"<a><!-- </domainCapabilities> --></a>" + write(DOCUMENT), "document 1 of 2: expected XML"),
        (write(DOCUMENT) * 501, "501 documents; expected at most 500"),
    ],
)
def test_what_is_wrong_with_one_of_them_is_told_with_its_number(tmp_path: Path, data: bytes, complaint: str) -> None:
    (tmp_path / "all.xml").write_bytes(data)
    with pytest.raises(SideError, match=rf"all\.xml(, |: ){complaint}"):
        side(str(tmp_path / "all.xml"), nothing, 5)


@pytest.mark.parametrize("data", [b"", b"<x/>", b"not XML", b"<domainCapabilities/>"])
def test_a_file_that_is_no_document_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(data)
    with pytest.raises(SideError, match=r"a\.xml"):
        side(str(tmp_path / "a.xml"), nothing, 5)


def test_a_file_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(SideError, match="larger than"):
        side(str(tmp_path / "a.xml"), nothing, 5)


def test_what_is_not_there_is_told_with_what_could_be() -> None:
    with pytest.raises(SideError, match="nowhere: not there; expected an XML file, a recorded directory, http://HOST:PORT"):
        side("nowhere", nothing, 5)


@pytest.mark.parametrize("whose", ["local", "recorded"])
def test_this_host_and_a_recorded_one_are_whole(tmp_path: Path, whose: str) -> None:
    asked: list[Path | None] = []

    def answer(directory: Path | None) -> Sequence[Outcome]:
        asked.append(directory)
        return [Outcome("qemu", (REPORT,)), Outcome("xen", failure=Failure("absent", "no /dev/xen"))]

    found = side("local" if whose == "local" else str(tmp_path), answer, 5)
    assert (len(found.guests), found.whole, asked) == (1, True, [None if whose == "local" else tmp_path])


def test_a_driver_that_gave_no_answer_has_not_lost_anything() -> None:
    with pytest.raises(SideError, match="local: qemu: no answer"):
        side("local", lambda _: [Outcome("qemu", failure=Failure("timeout", "no answer"))], 5)


# ---- a libvirt ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def install(script: str) -> None:
        (tmp_path / "virsh").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "virsh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_a_libvirt_is_asked_through_virsh(virsh: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    virsh(f'[ "$3" = qemu+ssh://host/system ] && cat {tmp_path}/answer')
    assert side("qemu+ssh://host/system", nothing, 5).guests[0].name == "x86_64 pc-q35-7.2 kvm"


EMULATED = replace(REPORT, identity=replace(IDENTITY, virttype="qemu"))


def hosting(*reports: Report) -> Answered:
    """A host with these kinds of guests."""
    return lambda _: [Outcome("qemu", reports)]


def recorded(folder: Path) -> list[list[str]]:
    """What virsh was asked, call by call, after the URI."""
    return [line.split()[4:] for line in (folder / "asked").read_text().splitlines()]


ASKED = 'echo "$@" >> {0}/asked; '


def test_a_libvirt_is_asked_about_the_other_sides_guests(virsh: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    virsh(ASKED.format(tmp_path) + f"cat {tmp_path}/answer")
    known = [("qemu", IDENTITY), ("qemu", EMULATED.identity)]
    for first, second in (("qemu:///system", "local"), ("local", "qemu:///system")):
        both = sides(first, second, hosting(REPORT, EMULATED), 5)
        assert [one.name for one in both] == [first, second]
        assert [[(guest.known.driver, guest.known.identity) for guest in one.guests] for one in both] == [known, known]
    exactly = ["--emulatorbin=/bin/qemu", "--arch=x86_64", "--machine=q35"]
    assert recorded(tmp_path) == [[*exactly, f"--virttype={virttype}"] for virttype in ("kvm", "qemu")] * 2


def test_of_two_libvirts_the_first_says_what_the_second_is_asked(virsh: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    virsh(ASKED.format(tmp_path) + f"cat {tmp_path}/answer")
    before, after = sides("qemu:///system", "qemu+ssh://there/system", nothing, 5)
    assert before.guests[0].known == after.guests[0].known
    assert recorded(tmp_path) == [[], ["--emulatorbin=/bin/qemu", "--arch=x86_64", "--machine=pc-q35-7.2", "--virttype=kvm"]]


def test_a_libvirt_without_this_emulator_or_version_is_asked_about_its_own(virsh: Callable[[str], None], tmp_path: Path) -> None:
    newer = replace(DOCUMENT, path="/usr/bin/qemu", machine="pc-q35-9.0")
    (tmp_path / "answer").write_bytes(write(newer))
    (tmp_path / "a.xml").write_bytes(write(DOCUMENT))
    virsh(f"""{ASKED.format(tmp_path)}case "$*" in *bin/q*|*7.2*) echo error: no such >&2; exit 1;; esac; cat {tmp_path}/answer""")
    before, after = sides(str(tmp_path / "a.xml"), "qemu:///system", nothing, 5)
    assert [words[:-1] for words in recorded(tmp_path)] == [
        ["--emulatorbin=/bin/qemu", "--arch=x86_64", "--machine=pc-q35-7.2"],
        ["--arch=x86_64", "--machine=pc-q35-7.2"],
        ["--emulatorbin=/bin/qemu", "--arch=x86_64", "--machine=q35"],
        ["--arch=x86_64", "--machine=q35"],
    ]
    (pair,) = compared(before, after).pairs
    assert (pair.after.name, pair.like, pair.differences) == ("x86_64 pc-q35-9.0 kvm", True, ())


@pytest.mark.parametrize(
    "path",
    [
        "/qemu/reboot",
        "/tmp/incoming/qemu.sh",
        "/tmp/qemu-system-x86_64",
        "/home/me/usr/bin/qemu-system-x86_64",
        "/usr/bin/../../tmp/qemu-system-x86_64",
        "/usr/bin/x/../../../tmp/qemu-system-x86_64",
        "//usr/bin/qemu-system-x86_64",
        "/usr/lib/xen/../../../tmp/bin/qemu-system-i386",
        "/usr/lib/xen-../bin/../qemu-system-i386",
        "/nix/store/00000000000000000000000000000000-qemu/bin/qemu-system-x86_64",
        "bin/qemu-system-x86_64",
        "qemu-system-x86_64",
        "/usr/bin/qemu-img",
        "/usr/bin/qemu-system-x86_64.sh",
        "/usr/bin/qemu-system-x86_64 --help",
        "/usr/bin/reboot",
    ],
)
def test_libvirt_is_not_made_to_run_whatever_a_document_names(virsh: Callable[[str], None], tmp_path: Path, path: str) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    (tmp_path / "a.xml").write_bytes(write(replace(DOCUMENT, path=path)))
    virsh(ASKED.format(tmp_path) + f"cat {tmp_path}/answer")
    before, after = sides(str(tmp_path / "a.xml"), "qemu:///system", nothing, 5)
    assert recorded(tmp_path) == [["--arch=x86_64", "--machine=pc-q35-7.2", "--virttype=kvm"]]
    assert compared(before, after).equal


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/qemu-system-x86_64",
        "/bin/qemu-system-x86_64-microvm",
        "/usr/bin/kvm",
        "/usr/libexec/qemu-kvm",
        "/usr/libexec/xen-qemu-system-i386",
        "/usr/lib/xen-4.17/bin/qemu-system-i386",
        "/usr/lib64/xen/bin/qemu-system-i386",
        "/usr/libexec/xen/bin/qemu-system-i386",
        "/usr/local/lib/xen/bin/qemu-system-i386",
        "/usr/sbin/bhyve",
        "/usr/local/bin/qemu-system-aarch64",
        "/run/libvirt/nix-emulators/qemu-system-x86_64",
    ],
)
def test_libvirt_is_asked_about_the_emulator_where_a_distribution_puts_it(
    virsh: Callable[[str], None], tmp_path: Path, path: str
) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    (tmp_path / "a.xml").write_bytes(write(replace(DOCUMENT, path=path)))
    virsh(ASKED.format(tmp_path) + f"cat {tmp_path}/answer")
    sides(str(tmp_path / "a.xml"), "qemu:///system", nothing, 5)
    assert recorded(tmp_path) == [[f"--emulatorbin={path}", "--arch=x86_64", "--machine=pc-q35-7.2", "--virttype=kvm"]]


@pytest.mark.parametrize(
    ("whose", "source", "passed_on"),
    [
        ("local", "native", ["--emulatorbin=/opt/qemu/bin/qemu-system-x86_64"]),
        ("local", "qemu+ssh://elsewhere/system", []),
        ("replayed", "native", []),
        ("recorded", "native", []),
    ],
)
def test_an_emulator_elsewhere_counts_if_this_very_host_has_it(
    virsh: Callable[[str], None], tmp_path: Path, whose: str, source: str, passed_on: list[str]
) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    virsh(ASKED.format(tmp_path) + f"cat {tmp_path}/answer")
    host = hosting(replace(REPORT, identity=replace(IDENTITY, emulator="/opt/qemu/bin/qemu-system-x86_64"), source=source))
    sides(str(tmp_path) if whose == "recorded" else "local", "qemu:///system", host, 5, replayed=whose == "replayed")
    assert recorded(tmp_path) == [[*passed_on, "--arch=x86_64", "--machine=q35", "--virttype=kvm"]]


def test_a_guest_that_libvirt_refuses_is_left_out_unless_it_is_the_last(virsh: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    virsh(f"""case "$*" in *virttype=kvm*) echo error: no KVM >&2; exit 1;; esac; cat {tmp_path}/answer""")
    asked, _ = sides("qemu:///system", "local", hosting(REPORT, EMULATED), 5)
    assert [guest.name for guest in asked.guests] == ["x86_64 q35 qemu"]
    with pytest.raises(SideError, match=r"^qemu:///system: no KVM$"):
        sides("qemu:///system", "local", hosting(REPORT), 5)


def test_a_libvirt_that_is_not_reached_is_not_asked_again(virsh: Callable[[str], None], tmp_path: Path) -> None:
    virsh(ASKED.format(tmp_path) + "echo 'error: failed to connect to the hypervisor' >&2; exit 1")
    with pytest.raises(SideError, match="qemu:///system: failed to connect to the hypervisor"):
        sides("qemu:///system", "local", hosting(REPORT), 5)
    assert len(recorded(tmp_path)) == 1


def test_what_virsh_complains_of_is_told(virsh: Callable[[str], None]) -> None:
    virsh("echo 'error: failed to connect' >&2; exit 1")
    with pytest.raises(SideError, match="qemu:///system: failed to connect"):
        side("qemu:///system", nothing, 5)


def test_a_libvirt_that_hangs_is_given_up(virsh: Callable[[str], None]) -> None:
    virsh("exec sleep 60")
    with pytest.raises(SideError, match=r"qemu:///system: no answer within 0\.3 s"):
        side("qemu:///system", nothing, 0.3)


def test_a_libvirt_that_comes_to_hang_is_said_to_have_answered_some(virsh: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(write(DOCUMENT))
    virsh(f"""case "$*" in *virttype=qemu*) exec sleep 60;; esac; cat {tmp_path}/answer""")
    with pytest.raises(SideError, match=r"^qemu:///system: no answer about 1 of 2 guests within 2 s$"):
        sides("local", "qemu:///system", hosting(REPORT, EMULATED), 2)


@pytest.mark.parametrize("secret", ["s@cr:t", "s3/cret", "s3?cret", "s3#cret"])
def test_a_password_in_a_libvirts_uri_is_refused_and_not_repeated(
    virsh: Callable[[str], None], tmp_path: Path, secret: str
) -> None:
    virsh(ASKED.format(tmp_path) + "exit 1")
    with pytest.raises(SideError, match=r"^found a password in qemu\+ssh://me@host/system, expected none"):
        side(f"qemu+ssh://me:{secret}@host/system", nothing, 5)
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("name", "printed"), [("qemu+ssh://me:my secret@h/s", "qemu+ssh://me@h/s"), ("http:/me:secret@h", "http:/me@h")]
)
def test_what_is_no_address_is_told_without_the_password_all_the_same(name: str, printed: str) -> None:
    with pytest.raises(SideError, match=rf"^{re.escape(printed)}: not there; expected an XML file"):
        side(name, nothing, 5)


# ---- another exporter --------------------------------------------------------------------------------------------------------


def test_an_exporter_tells_the_truth_and_libvirts_words() -> None:
    with answering(USUAL) as url:
        found = side(f"{url}/", nothing, 5)
    (guest,) = found.guests
    assert (found.name, found.whole, guest.proven, guest.known.identity) == (f"{url}/", True, True, IDENTITY)
    assert guest.words is not None
    assert guest.words.numbers == guest.known.numbers == {("vcpu", "max"): 8}


def test_the_address_of_its_metrics_will_do() -> None:
    with answering(USUAL) as url:
        assert len(side(f"{url}/metrics", nothing, 5).guests) == 1


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"/metrics": b"node_load1 1\n"}, "no exporter of domain capabilities"),
        ({"/metrics": b'domcaps_exporter_build_info{x="\n'}, "its /metrics cannot be read"),
        ({"/metrics": METRICS.encode() + b'domcaps_probe_success{driver="xen"} 0\n'}, "its driver xen has no answer at the moment"),
        ({"/documents": b"<html>"}, "/documents: not JSON"),
        ({"/documents": b'{"a": 1}'}, "/documents: an array of at most"),
        ({"/documents": b'[{"id": "x"}]'}, "/documents: a document without id or labels"),
        ({"/documents": b"[" * 100_000}, "/documents: not JSON"),
        ({"/documents/qemu-x.xml": b"<x/>"}, "127.0.0.1"),
        ({"/documents/qemu-x.xml": b"x" * (LIMIT + 1)}, f"more than {LIMIT} bytes"),
    ],
)
def test_an_exporter_that_answers_nonsense_is_refused(changed: dict[str, bytes], complaint: str) -> None:
    with answering({**USUAL, **changed}) as url, pytest.raises(SideError, match=complaint):
        side(url, nothing, 10)


@pytest.mark.parametrize("status", [302, 401, 500])
def test_nobody_is_followed_elsewhere(status: int) -> None:
    with answering(USUAL, status) as url, pytest.raises(SideError, match=f"/metrics: answered {status}, 200 expected"):
        side(url, nothing, 5)


def test_who_must_say_a_password_is_told_how() -> None:
    with answering(USUAL, 401) as url:
        host = url.removeprefix("http://")
        with pytest.raises(SideError, match=rf"answered 401, 200 expected; expected http://USER:PASSWORD@{host}$"):
            side(url, nothing, 5)
        with pytest.raises(SideError, match=r"answered 401, 200 expected; it does not take this name and password$"):
            side(f"http://me:secret@{host}", nothing, 5)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.certify("here", "IP:127.0.0.1")
    authority.certify("elsewhere", "DNS:elsewhere.example")
    return authority


def secured(authority: Authority, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    return context


def test_a_certificate_that_nobody_vouches_for_is_said_to_be_that_and_what_mends_it(authority: Authority) -> None:
    with answering(USUAL, tls=secured(authority, "here")) as url, pytest.raises(SideError) as caught:
        side(url, nothing, 5)
    untrusted = "its certificate is not trusted: unable to get local issuer certificate"
    assert (
        str(caught.value) == f"{url}: {untrusted}; where it is of your own making: SSL_CERT_FILE=CERTIFICATE.pem before the command"
    )


@pytest.mark.parametrize(
    ("name", "why"), [("none.pem", "it, or a folder on the way, is not there"), ("ca.key", "it holds no certificate")]
)
def test_a_file_of_certificates_that_cannot_be_used_is_named(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.folder / name))
    with answering(USUAL, tls=secured(authority, "here")) as url, pytest.raises(SideError) as caught:
        side(url, nothing, 5)
    assert str(caught.value).endswith(f"; SSL_CERT_FILE={authority.folder / name} is of no use: {why}")


def test_by_what_mends_it_an_exporter_is_read(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.folder / "ca.pem"))
    with answering(USUAL, tls=secured(authority, "here")) as url:
        code = f"from domcaps_exporter.remote import told; print(len(told({url!r}, 5).documents))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_certificate_for_another_name_is_said_to_be_that(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.folder / "ca.pem"))
    with answering(USUAL, tls=secured(authority, "elsewhere")) as url:
        code = f"from domcaps_exporter.remote import told; told({url!r}, 5)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "its certificate is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'." in done.stderr
    assert "SSL_CERT_FILE" not in done.stderr.splitlines()[-1]


def test_who_speaks_http_to_tls_or_tls_to_http_is_told_so(authority: Authority) -> None:
    with answering(USUAL, tls=secured(authority, "here")) as url:
        plain = url.replace("https:", "http:")
        with pytest.raises(SideError, match=f"^{plain}: it ended the connection without an answer; does it speak https\\?$"):
            side(plain, nothing, 5)
    with answering(USUAL) as url:
        secure = url.replace("http:", "https:")
        with pytest.raises(SideError, match=f"^{secure}: TLS fails: .*; does it speak http\\?$"):
            side(secure, nothing, 5)
    with answering(USUAL, 400) as url, pytest.raises(SideError, match=r"answered 400, 200 expected; does it speak https\?$"):
        side(url, nothing, 5)


def test_an_exporter_that_speaks_slowly_is_given_up_in_time() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        for _ in range(50):
            handler.wfile.write(b"H")
            time.sleep(0.05)

    before = time.monotonic()
    with answering(USUAL, pace=drip) as url, pytest.raises(RemoteError):
        told(url, 0.4)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize("secret", ["a/b", "a?b", "a#b", "a/@b"])
def test_a_password_that_breaks_the_address_is_not_printed(secret: str) -> None:
    with pytest.raises(SideError, match=r"^http://127\.0\.0\.1:1: .* expected %2F, %3F or %23") as caught:
        side(f"http://me:{secret}@127.0.0.1:1", nothing, 5)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("place", ["127.0.0.1:x", "127.0.0.1:99999", "[::1", "", "x\u2100y"])
def test_an_address_that_is_none_is_not_printed_with_the_password(place: str) -> None:
    with pytest.raises(SideError, match=rf"^http://{re.escape(place)}: no address that can be asked; expected http://HOST:PORT"):
        side(f"http://me:secret@{place}", nothing, 5)


def test_a_scheme_may_be_written_large() -> None:
    with pytest.raises(SideError, match=r"^HTTP://127\.0\.0\.1:1: connection refused$"):
        side("HTTP://me:secret@127.0.0.1:1", nothing, 5)


def test_a_closed_door_is_an_error_with_the_address_and_without_the_password() -> None:
    with pytest.raises(SideError, match=r"^http://127\.0\.0\.1:1/: connection refused$") as caught:
        side("http://me:secret@127.0.0.1:1/", nothing, 5)
    assert "secret" not in str(caught.value)
    assert shown("https://me:secret@host:1/x") == "https://host:1/x"
