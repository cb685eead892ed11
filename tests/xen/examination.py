"""What is done in the dom0: the exporter serves and is scraped, and `xl create` is asked what it really accepts. Needs Python only.

Usage: python3 examination.py FOLDER. Into the folder go metrics, metrics-again, seconds.json, ID.xml for every document, and
created.json (guest → true, or xl's words).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PORT = 19177
DEVICE = "0000:00:03.0"
GUESTS = {
    "xenpv": 'type="pv"\nkernel="/guest/vmlinuz"',
    "xenpvh": 'type="pvh"\nkernel="/guest/vmlinuz"',
    "xenfv": 'type="hvm"',
}
OPTIONS = {"": "", "pci": f'pci=["{DEVICE}"]'}
"""What each guest is tried with."""


def main(folder: Path) -> None:
    with served():
        seconds = {name: scraped(folder / name) for name in ("metrics", "metrics-again")}
        (folder / "seconds.json").write_text(json.dumps(seconds))
        for document in json.loads(fetched("/documents")):
            (folder / f"{document['machine']}.xml").write_bytes(fetched(f"/documents/{document['id']}.xml"))
    created = {f"{guest}{'-' if option else ''}{option}": create(guest, option) for guest in GUESTS for option in OPTIONS}
    (folder / "created.json").write_text(json.dumps(created))


@contextmanager
def served() -> Iterator[None]:
    command = (sys.executable, "-c", "import sys; from domcaps_exporter.cli import main; sys.exit(main())")
    where = ("--web.listen-address", f"127.0.0.1:{PORT}", "--no-driver.qemu", "--probe.timeout", "120s")
    with subprocess.Popen([*command, *where]) as exporter:
        try:
            await_ready(exporter)
            yield
        finally:
            exporter.terminate()


def await_ready(exporter: subprocess.Popen[bytes]) -> None:
    while exporter.poll() is None:
        with suppress(OSError):
            fetched("/-/ready")
            return
        time.sleep(0.2)
    raise SystemExit("the exporter did not come up")


def fetched(path: str) -> bytes:
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": "100"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=110) as answer:  # noqa: S310  it is ours
        body: bytes = answer.read()
    return body


def scraped(file: Path) -> float:
    """Seconds."""
    started = time.monotonic()
    file.write_bytes(fetched("/metrics"))
    return time.monotonic() - started


def create(guest: str, option: str) -> bool | str:
    """Create such a guest, paused, and destroy it again."""
    name = f"{guest}{option}"
    Path("/guest.cfg").write_text(f'name="{name}"\nmemory=128\n{GUESTS[guest]}\n{OPTIONS[option]}\n')
    done = subprocess.run(["xl", "create", "-p", "-q", "/guest.cfg"], capture_output=True, text=True, timeout=120, check=False)
    subprocess.run(["xl", "destroy", name], capture_output=True, timeout=60, check=False)
    return done.returncode == 0 or done.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]))
