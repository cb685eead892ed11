"""The web configuration file: what it may say, and that what Prometheus' own check takes is taken."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import bcrypt
import pytest
from tests.exporter.certificates import Authority, openssl

from domcaps_exporter.config import ConfigError
from domcaps_exporter.standing import Standing
from domcaps_exporter.webconfig import CIPHERS, Rate, Tls, Web, parse

FILE = Path("/etc/domcaps/web.yml")
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
TLS = "tls_server_config: {cert_file: cert.pem, key_file: /keys/key.pem"


def said(text: str) -> Web:
    return parse(FILE, text.encode())


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "tls_server_config:\nbasic_auth_users: ~\nhttp_server_config: {}\n"])
def test_an_empty_file_asks_for_nothing(text: str) -> None:
    assert said(text) == Web()


def test_relative_paths_start_where_the_file_is() -> None:
    assert said(TLS + "}").tls == Tls(Path("/etc/domcaps/cert.pem"), Path("/keys/key.pem"))


def test_everything_about_tls_is_understood() -> None:
    text = """
tls_server_config:
  cert: CERT
  key: KEY
  client_ca: CA
  client_auth_type: RequireClientCert
  client_allowed_sans: [scraper.example, 10.0.0.1]
  min_version: TLS13
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: no
  curve_preferences: [X25519, CurveP256]
"""
    sans, ciphers = frozenset({"scraper.example", "10.0.0.1"}), ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",)
    tls = Tls("CERT", "KEY", "CA", "RequireAnyClientCert", sans, "TLS13", "TLS13", ciphers, False, ("X25519", "CurveP256"))
    assert said(text).tls == tls


@pytest.mark.parametrize(
    ("interval", "seconds"), [("1s", 1), ("1m30s", 90), (".5s", 0.5), ("250ms", 0.25), ("1000000000", 1), ("2h", 7200)]
)
def test_intervals_are_written_as_in_go(interval: str, seconds: float) -> None:
    rate = said(f"rate_limit: {{interval: {interval}, burst: 20}}").rate
    assert rate is not None
    assert rate.burst == 20
    assert abs(rate.interval - seconds) < 1e-9


@pytest.mark.parametrize("text", ["rate_limit: {interval: 0, burst: 20}", "rate_limit: {burst: 20}", "rate_limit: {interval: 0s}"])
def test_no_interval_limits_nothing(text: str) -> None:
    assert said(text).rate is None


def test_a_burst_that_is_not_named_is_none() -> None:
    assert said("rate_limit: {interval: 1s}").rate == Rate(1, 0)


def test_scalars_are_words_wherever_words_are_expected() -> None:
    assert said(f"basic_auth_users: {{0123: {HASH}, yes: {HASH}}}").users == {"0123": HASH, "yes": HASH}


def test_a_folded_header_is_one_line_and_a_blank_one_is_none() -> None:
    policy = "Content-Security-Policy: >\n      default-src\n      'self'\n"
    headers = f"http_server_config:\n  headers:\n    {policy}    X-XSS-Protection: ''\n"
    assert said(headers).headers == {"Content-Security-Policy": "default-src 'self'"}


REFUSED = {
    "unknown section": ("tls_config: {}", "tls_config: no such key; allowed: tls_server_config, "),
    "unknown key": ("tls_server_config: {cert_fil: a}", "tls_server_config.cert_fil: no such key"),
    "unknown header": ("http_server_config: {headers: {Server: x}}", "http_server_config.headers.Server: no such header"),
    "wrong header": ("http_server_config: {headers: {X-Frame-Options: maybe}}", "expected one of deny, sameorigin"),
    "repeated key": ("rate_limit: {}\nrate_limit: {}", "the key 'rate_limit' stands twice"),
    "list for mapping": ("basic_auth_users: [a]", "basic_auth_users: expected a mapping"),
    "a word alone": ("nonsense", "the file: expected a mapping"),
    "no hash": ("basic_auth_users: {a: secret}", "basic_auth_users.a: expected a bcrypt hash"),
    "no key": ("tls_server_config: {cert_file: a}", "tls_server_config.key_file: TLS needs key or key_file"),
    "no certificate": ("tls_server_config: {key_file: a}", "tls_server_config.cert_file: TLS needs cert or cert_file"),
    "auth alone": ("tls_server_config: {client_auth_type: NoClientCert}", "TLS needs cert"),
    "unknown auth": (f"{TLS}, client_auth_type: Maybe}}", "client_auth_type: found 'Maybe', expected one of NoClientCert"),
    "CA without policy": (f"{TLS}, client_ca_file: a}}", "client CAs without a client_auth_type"),
    "names of nobody": (f"{TLS}, client_allowed_sans: [a]}}", "needs a client_auth_type that requires"),
    "names of some": (f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_allowed_sans: []}}", "that requires"),
    "unknown version": (f"{TLS}, min_version: SSL3}}", "min_version: found 'SSL3', expected one of TLS10"),
    "unknown cipher": (f"{TLS}, cipher_suites: [ROT13]}}", "cipher_suites: found 'ROT13'"),
    "unknown curve": (f"{TLS}, curve_preferences: [CurveP22]}}", "curve_preferences: found 'CurveP22'"),
    "one cipher no list": (f"{TLS}, cipher_suites: TLS_AES_128_GCM_SHA256}}", "cipher_suites: expected a list of words"),
    "no switch": ("http_server_config: {http2: perhaps}", "http_server_config.http2: found 'perhaps', expected true or false"),
    "no time": ("rate_limit: {interval: soon}", "rate_limit.interval: found 'soon', expected a time"),
    "no number": ("rate_limit: {burst: -1}", "rate_limit.burst: found '-1', expected a whole number"),
    "two documents": ("rate_limit: {}\n---\nbasic_auth_users: {}", "another document"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_a_file_may_not_say_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        said(text)
    assert str(refused.value).startswith(f"{FILE}: ")
    assert reason in str(refused.value)


# ---- beside Prometheus' own check ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, cert.pem and cert.key, and other forms of these."""
    folder = tmp_path_factory.mktemp("certificates")
    Authority(folder).certify("cert", "DNS:localhost")
    certificate, key = (folder / "cert.pem").read_bytes(), (folder / "cert.key").read_bytes()
    (folder / "chain.pem").write_bytes(certificate + (folder / "ca.pem").read_bytes())
    (folder / "wordy.pem").write_bytes(b"Some words.\n" + certificate)
    (folder / "both.pem").write_bytes(certificate + key)
    (folder / "empty.pem").touch()
    openssl("x509", "-in", folder / "cert.pem", "-outform", "der", "-out", folder / "cert.der")
    openssl("ec", "-in", folder / "cert.key", "-out", folder / "sec1.key")
    openssl("ec", "-aes256", "-passout", "pass:a", "-in", folder / "cert.key", "-out", folder / "locked.key")
    for name, algorithm in (("weak", ("rsa:1024",)), ("ed25519", ("ed25519",))):
        made = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        openssl("req", "-x509", "-nodes", "-newkey", *algorithm, *made, "-subj", "/CN=localhost")
    return folder


CERT = "tls_server_config:\n  cert_file: cert.pem\n  key_file: cert.key\n"
CANDIDATES = {
    "nothing": "",
    "comment": "# nothing",
    "nulls": "tls_server_config:\nbasic_auth_users:\n",
    "tls": CERT,
    "users": f"basic_auth_users:\n  alice: {HASH}\n  'bob': \"{HASH}\"\n",
    "users like numbers": f"basic_auth_users:\n  007: {HASH}\n  on: {HASH}\n  1.5: {HASH}\n",
    "2y": f"basic_auth_users: {{a: '{HASH.replace('2b', '2y')}'}}",
    "2a": f"basic_auth_users: {{a: '{HASH.replace('2b', '2a')}'}}",
    "no hash": "basic_auth_users: {a: b}",
    "anchors": f"basic_auth_users:\n  a: &hash {HASH}\n  b: *hash\n",
    "headers": "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: 1, Strict-Transport-Security: max-age=1}}",
    "other header": "http_server_config: {headers: {X-Other: a}}",
    "http2": CERT + "http_server_config: {http2: off}\n",
    "http2 nonsense": "http_server_config: {http2: maybe}",
    "versions": CERT + "  min_version: TLS10\n  max_version: TLS12\n",
    "version alone": "tls_server_config: {min_version: TLS12}",
    "bad version": CERT + "  min_version: TLS9\n",
    "all ciphers": CERT + f"  cipher_suites: [{', '.join(CIPHERS)}]\n",
    "new ciphers": CERT + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
    "old cipher": CERT + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n",
    "curves": CERT + "  curve_preferences: [CurveP521, X25519]\n",
    "order": CERT + "  prefer_server_cipher_suites: false\n",
    "verify": CERT + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n",
    "any": CERT + "  client_auth_type: RequireAnyClientCert\n",
    "any with CA": CERT + "  client_auth_type: RequireAnyClientCert\n  client_ca_file: ca.pem\n",
    "any with no such CA": CERT + "  client_auth_type: RequireAnyClientCert\n  client_ca_file: none.pem\n",
    "old name of any": CERT + "  client_auth_type: RequireClientCert\n  client_ca_file: ca.pem\n",
    "ask": CERT + "  client_auth_type: RequestClientCert\n  client_ca_file: ca.pem\n",
    "if given": CERT + "  client_auth_type: VerifyClientCertIfGiven\n",
    "CA only": CERT + "  client_ca_file: ca.pem\n",
    "no such certificate": "tls_server_config: {cert_file: a.pem, key_file: cert.key}",
    "key is no key": "tls_server_config: {cert_file: cert.pem, key_file: cert.pem}",
    "unknown": "who_knows: 1",
    "list": "- a",
    "repeated": "http_server_config: {}\nhttp_server_config: {}\n",
    "key of another": "tls_server_config: {cert_file: cert.pem, key_file: ca.key}",
    "locked key": "tls_server_config: {cert_file: cert.pem, key_file: locked.key}",
    "key in another form": "tls_server_config: {cert_file: cert.pem, key_file: sec1.key}",
    "certificate in another form": "tls_server_config: {cert_file: cert.der, key_file: cert.key}",
    "another algorithm": "tls_server_config: {cert_file: ed25519.pem, key_file: ed25519.key}",
    "chain": "tls_server_config: {cert_file: chain.pem, key_file: cert.key}",
    "words before": "tls_server_config: {cert_file: wordy.pem, key_file: cert.key}",
    "both in one": "tls_server_config: {cert_file: both.pem, key_file: both.pem}",
    "empty certificate": "tls_server_config: {cert_file: empty.pem, key_file: cert.key}",
    "folder for a certificate": "tls_server_config: {cert_file: ., key_file: cert.key}",
    "up and down": "tls_server_config: {cert_file: nowhere/../cert.pem, key_file: ./cert.key}",
    "ask alone": CERT + "  client_auth_type: RequestClientCert\n",
    "verify by the system's": CERT + "  client_auth_type: RequireAndVerifyClientCert\n",
    "no policy": CERT + "  client_auth_type: ''\n",
    "no such CA": CERT + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: none.pem\n",
    "oldest above newest": CERT + "  min_version: TLS13\n  max_version: TLS12\n",
    "version in small letters": CERT + "  min_version: tls12\n",
    "cipher twice": CERT + "  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n",
    "ciphers of RSA for another key": CERT + "  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n",
    "no ciphers": CERT + "  cipher_suites: []\n",
    "cipher by number": CERT + "  cipher_suites: [4865]\n",
    "insecure cipher": CERT + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256]\n",
    "no curves": CERT + "  curve_preferences: []\n",
    "unknown key of tls": CERT + "  insecure_skip_verify: true\n",
    "cheap hash": f"basic_auth_users: {{a: '{HASH.replace('$04', '$03', 1)}'}}",
    "dearest hash": f"basic_auth_users: {{a: '{HASH.replace('$04', '$31', 1)}'}}",
    "hash of too much": f"basic_auth_users: {{a: '{HASH.replace('$04', '$32', 1)}'}}",
    "another kind of hash": f"basic_auth_users: {{a: '{HASH.replace('2b', '3b', 1)}'}}",
    "no name": f"basic_auth_users: {{'': '{HASH}'}}",
    "merged": f"basic_auth_users: {{<<: {{a: '{HASH}'}}, b: '{HASH}'}}",
    "header in small letters": "http_server_config: {headers: {x-frame-options: deny}}",
    "value in great letters": "http_server_config: {headers: {X-Frame-Options: DENY}}",
    "header of two lines": 'http_server_config: {headers: {X-XSS-Protection: "a\\nb"}}',
    "byte order mark": "\ufeff" + CERT,
    "line ends of Windows": CERT.replace("\n", "\r\n"),
    "tab": "tls_server_config:\n\tcert_file: cert.pem\n",
    "tagged": CERT.replace("cert.pem", "!!str cert.pem"),
    "key in great letters": CERT.replace("cert_file", "Cert_File"),
}


def asking(text: str) -> str:
    """The same, and certificates are asked for: another TLS serves that."""
    told = "client_auth_type: RequestClientCert"
    return text.replace("tls_server_config: {", f"tls_server_config: {{{told}, ").replace("  cert_file", f"  {told}\n  cert_file")


CANDIDATES |= {
    f"ask with {name}": asking(text) for name, text in CANDIDATES.items() if "cert_file" in text and "auth_type" not in text
}

STRICTER = {
    "weak key": "tls_server_config: {cert_file: weak.pem, key_file: weak.key}",
    "CA without certificates": CERT + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty.pem\n",
    "hash cut off": f"basic_auth_users: {{a: '{HASH[:-1]}'}}",
    "hash with more behind": f"basic_auth_users: {{a: '{HASH}abc'}}",
    "hash of no version": f"basic_auth_users: {{a: '{HASH.replace('2b', '2', 1)}'}}",
    "header that ends strings": 'http_server_config: {headers: {X-XSS-Protection: "a\\0b"}}',
    "second document": f"{CERT}---\nbasic_auth_users: {{a: '{HASH}'}}\n",
    "tag of nobody": CERT.replace("cert.pem", "!ours cert.pem"),
}
"""What promtool takes and we do not: a key that OpenSSL's defaults refuse, what would let nobody in, and what Go's YAML passes over
in silence.
"""

NEWER = {
    "rate": "rate_limit: {interval: 1s, burst: 3}",
    "names": CERT + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]\n",
    "names in any": CERT + "  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a]\n",
    "no version": CERT + "  min_version: ''\n",
    "switch in quotes": "http_server_config: {http2: 'off'}",
}
"""What we take, whatever this promtool says: the first three are younger than Debian 12's, the others are not told apart here."""


@pytest.fixture(scope="module")
def files(certified: Path) -> Mapping[str, Path]:
    """Each of them as a file beside the certificates."""
    made = {}
    for number, (name, text) in enumerate({**CANDIDATES, **STRICTER, **NEWER}.items()):
        made[name] = certified / f"{number}.yml"
        made[name].write_text(text, newline="")
    return made


@pytest.fixture(scope="module")
def taken_by_promtool(files: Mapping[str, Path]) -> frozenset[str]:
    """Their names."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool: it is what we are compared with")
    checked = subprocess.run(["promtool", "check", "web-config", *files.values()], capture_output=True, text=True, check=False)
    said = dict(re.findall(r"([0-9]+)\.yml (SUCCESS|FAILED)", checked.stdout + checked.stderr))
    assert len(said) == len(files), checked
    return frozenset(name for name, file in files.items() if said[file.stem] == "SUCCESS")


@pytest.mark.parametrize("name", CANDIDATES)
def test_what_promtool_takes_is_taken_and_what_it_refuses_is_refused(
    name: str, files: Mapping[str, Path], taken_by_promtool: frozenset[str]
) -> None:
    assert taken(files[name]) is (name in taken_by_promtool)


@pytest.mark.parametrize("name", STRICTER)
def test_where_we_are_stricter_than_promtool_it_is_on_purpose(
    name: str, files: Mapping[str, Path], taken_by_promtool: frozenset[str]
) -> None:
    assert not taken(files[name])
    assert name in taken_by_promtool


@pytest.mark.parametrize("name", NEWER)
def test_what_this_promtool_may_not_know_is_taken(name: str, files: Mapping[str, Path]) -> None:
    assert taken(files[name])


def taken(file: Path) -> bool:
    try:
        Standing(file)
    except ConfigError:
        return False
    return True
