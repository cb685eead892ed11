"""The image, built as docs/container/README.md says and run as it says: by a real Podman, scraped by a real Prometheus.

`make test-container` makes the bases (DOMCAPS_CONTAINER names their folder) and runs this.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.container.podman import Container, Podman, in_a_pod
from tests.endtoend import EMULATOR as EMULATOR_HERE
from tests.endtoend import Samples, eventually, run
from tests.test_prometheus import prometheus_of

DEBIAN, FOREIGN = "domcaps-debian", "domcaps-foreign"
BASES = {DEBIAN: ("build", ""), FOREIGN: ("base", "localhost/foreign")}
VERSIONS = {DEBIAN: "10.0.", FOREIGN: "7.2."}
"""Of QEMU, in Debian 13 and 12."""
OURS = "/opt/domcaps-exporter/bin/domcaps-exporter"
GROUP, NOBODY = 4242, 65532
EMULATOR = "/usr/bin/qemu-system-x86_64"
LARGEST = 110 * 2**20
"""Bytes that the exporter may add to an image."""

Needs = Callable[[str, object, str], None]


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    found = Podman(Path(os.environ["DOMCAPS_CONTAINER"]))
    try:
        for image, (block, base) in BASES.items():
            found.build(block, image, base)
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def kvm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/dev/kvm as distributions have it: root's, and a group's."""
    return node(tmp_path_factory.mktemp("dev") / "kvm", os.makedev(10, 232))


def node(path: Path, device: int) -> Path:
    os.mknod(path, 0o660 | stat.S_IFCHR, device)
    shutil.chown(path, 0, GROUP)
    path.chmod(0o660)
    return path


@dataclass(frozen=True)
class Served:
    image: str
    container: Container

    def scrape(self) -> Samples:
        said = subprocess.run(
            ["curl", "-sf", f"http://{self.container.address}/metrics"], capture_output=True, text=True, check=True
        )
        return samples(said.stdout)


def samples(text: str) -> Samples:
    return Samples.of(text_string_to_metric_families(text))


@pytest.fixture(scope="module", params=BASES, ids=["on Debian", "on a foreign base"])
def served(request: pytest.FixtureRequest, podman: Podman, kvm: Path) -> Iterator[Served]:
    with podman.serving(str(request.param), kvm) as container:
        running = Served(str(request.param), container)
        await_ready(container)
        yield running


def await_ready(container: Container) -> None:
    ready = ["curl", "-sf", f"http://{container.address}/-/ready"]
    assert eventually(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, 30), container.log()


# ---- what it says ------------------------------------------------------------------------------------------------------------


def test_the_qemu_of_its_own_image_is_asked(served: Served) -> None:
    found = served.scrape()
    (about,) = found.having("domcaps_document_info", driver="qemu", virttype=virttype())
    assert (about.labels["emulator"], about.labels["machine"]) == (EMULATOR, "q35")
    assert about.labels["version"].startswith(VERSIONS[served.image])
    assert found.value("domcaps_probe_success", driver="qemu") == 1


def virttype() -> str:
    return "kvm" if Path("/dev/kvm").exists() else "qemu"


def test_the_exporter_runs_on_no_library_but_its_own(served: Served) -> None:
    (exporter,) = children(served.container.pid)
    loaded = {line.split()[-1] for line in Path(f"/proc/{exporter}/maps").read_text().splitlines() if ".so" in line}
    assert any(path.endswith("/libc.so.6") for path in loaded)
    assert not [path for path in loaded if not path.startswith("/opt/domcaps-exporter/")]


def test_the_foreign_base_has_no_python_and_another_c_library(podman: Podman) -> None:
    with podman.mounted(FOREIGN) as root:
        assert not list(root.glob("usr/bin/python*"))
        own, (ours,) = root / "usr/lib/x86_64-linux-gnu/libc.so.6", root.glob("opt/domcaps-exporter/python/lib/libc.so.6")
        assert own.read_bytes() != ours.read_bytes()


def test_people_are_shown_what_it_serves_as_the_readme_says(served: Served) -> None:
    machine = f"pc-q35-{VERSIONS[served.image].rstrip('.')}"
    assert f"qemu: x86_64 q35 ({machine}) {virttype()}" in served.container.exec(in_a_pod("show")).splitlines()


def test_host_model_is_known_where_the_image_has_libvirts_cpu_map(served: Served) -> None:
    assert bool(served.scrape().having("domcaps_cpu_host_model_info")) == (served.image == DEBIAN)


def test_guests_with_kvm_can_run(served: Served, needs: Needs) -> None:
    needs("kvm", Path("/dev/kvm").exists(), "it is given to a container")
    assert served.scrape().value("domcaps_guest_supported", virttype="kvm") == 1


def test_inside_is_said_what_the_same_qemu_says_outside_of_a_container(served: Served, podman: Podman, kvm: Path) -> None:
    with podman.mounted(served.image) as root:
        outside = samples(said_in(root, kvm))
    inside = served.scrape()
    assert len(outside.having("domcaps_supported")) > 100
    assert set(map(str, inside.about_documents())) == set(map(str, outside.about_documents()))


def said_in(root: Path, kvm: Path) -> str:
    """The metrics that the exporter tells on this machine, with the files of that image, and no container around it."""
    mounts = f"for it in proc sys dev; do mount --rbind /$it {root}/$it; done"
    given = f"[ ! -e /dev/kvm ] || mount --bind {kvm} {root}/dev/kvm"
    there = f"exec chroot --userspec={NOBODY}:{NOBODY} --groups={NOBODY},{GROUP} {root} {OURS} show --format=metrics"
    script = f"{mounts}; {given}; {there}"
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_real_prometheus_scrapes_it(served: Served, tmp_path: Path) -> None:
    jobs = [{"job_name": "domcaps", "static_configs": [{"targets": [served.container.address]}]}]
    configured = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    with prometheus_of(tmp_path, configured) as server:
        assert eventually(lambda: server.query("count_over_time(up[1m]) >= 2"), 30), server.log.read_text()
        assert [value for _, value in server.query("min_over_time(up[1m])")] == [1]
        known = server.query('domcaps_supported{element="disk",enum="bus",value="virtio"}')
    assert [value for _, value in known] == [1] * len(known) != []


# ---- what it may -------------------------------------------------------------------------------------------------------------


def test_none_of_its_processes_has_a_privilege(served: Served) -> None:
    processes = [served.container.pid, *children(served.container.pid)]
    assert len(processes) > 1
    for pid in processes:
        told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(told["Uid"].split()) == {str(NOBODY)}
        assert {int(told[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}
        assert (told["NoNewPrivs"].strip(), told["Seccomp"].strip()) == ("1", "2")


def test_it_can_write_nothing_but_its_state(served: Served) -> None:
    mounts = [line.split() for line in Path(f"/proc/{served.container.pid}/mounts").read_text().splitlines()]
    options = {where: set(how.split(",")) for _, where, _, how, *_ in mounts}
    assert "ro" in options["/"] & options["/host/sys"]
    assert "rw" in options["/var/lib/domcaps-exporter"]


def children(pid: int) -> list[int]:
    """Zombies among them."""
    return [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]


def test_kvm_that_is_mounted_and_not_given_cannot_be_opened_and_that_is_said(podman: Podman, kvm: Path, needs: Needs) -> None:
    needs("kvm", Path("/dev/kvm").exists(), "it is withheld from a container")
    flags = ("--user", f"{NOBODY}", "--group-add", str(GROUP), "--volume", f"{kvm}:/dev/kvm")
    found = samples(podman.in_one(DEBIAN, "show", "--format=metrics", flags=flags))
    assert found.value("domcaps_guest_supported", virttype="kvm") == 0
    assert [one.labels["prerequisite"] for one in found.having("domcaps_unmet_prerequisite", element="guest")] == ["kvm-access"]
    assert found.value("domcaps_guest_supported", virttype="qemu") == 1


# ---- what it sees of the host ------------------------------------------------------------------------------------------------


def unmet(found: Samples, virttype: str = "qemu") -> set[str]:
    return {one.labels["prerequisite"] for one in found.having("domcaps_unmet_prerequisite", virttype=virttype)}


@pytest.fixture
def told(tmp_path: Path) -> tuple[str, ...]:
    """The flags by which a container is told to report on emulated guests, which are the same with KVM and without."""
    (tmp_path / "domcaps.yml").write_text("drivers: {qemu: {virttypes: [qemu]}}")
    return ("--volume", f"{tmp_path / 'domcaps.yml'}:/domcaps.yml:ro")


def test_a_device_is_missing_until_its_folder_is_mounted(podman: Podman, told: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "vfio").mkdir()
    node(tmp_path / "vfio" / "vfio", os.makedev(10, 196))
    words = ("show", "--format=metrics", "--config.file=/domcaps.yml")
    assert "dev-vfio" in unmet(samples(podman.in_one(DEBIAN, *words, flags=told)))
    mounted = (*told, "--volume", f"{tmp_path / 'vfio'}:/dev/vfio:ro")
    assert "dev-vfio" not in unmet(samples(podman.in_one(DEBIAN, *words, flags=mounted)))


def test_a_kernel_module_is_missing_until_the_hosts_are_mounted(podman: Podman, told: tuple[str, ...], tmp_path: Path) -> None:
    installed = tmp_path / "modules" / os.uname().release
    installed.mkdir(parents=True)
    (installed / "modules.dep").write_text("kernel/drivers/vfio/pci/vfio-pci.ko:\n")
    (installed / "modules.builtin").touch()
    words = ("show", "--format=metrics", "--config.file=/domcaps.yml")
    assert "vfio-pci-driver" in unmet(samples(podman.in_one(DEBIAN, *words, flags=told)))
    mounted = (*told, "--volume", f"{tmp_path / 'modules'}:/lib/modules:ro")
    assert "vfio-pci-driver" not in unmet(samples(podman.in_one(DEBIAN, *words, flags=mounted)))


def test_with_the_hosts_root_firmware_is_the_hosts_and_qemu_the_images(
    podman: Podman, told: tuple[str, ...], tmp_path: Path
) -> None:
    host = tmp_path / "host"
    (host / "usr/share/qemu/firmware").mkdir(parents=True)
    (host / "CODE.fd").touch()
    (host / "VARS.fd").touch()
    (host / "usr/share/qemu/firmware/10.json").write_text(json.dumps(descriptor("/CODE.fd", "/VARS.fd")))
    words = ("show", "--format=metrics", "--config.file=/domcaps.yml")
    own = samples(podman.in_one(DEBIAN, *words, flags=told))
    mounted = (*told, "--volume", f"{host}:/host:ro")
    hosts = samples(podman.in_one(DEBIAN, *words, "--path.rootfs=/host", flags=mounted))
    assert {one.labels["loader"] for one in own.having("domcaps_loader_present")} >= {"/usr/share/OVMF/OVMF_CODE_4M.fd"}
    assert {one.labels["loader"] for one in hosts.having("domcaps_loader_present")} == {"/CODE.fd"}
    versions = [found.having("domcaps_document_info")[0].labels["version"] for found in (own, hosts)]
    assert versions[0] == versions[1]


def test_looking_at_this_host_from_outside_finds_its_firmware_and_asks_the_images_qemu(
    podman: Podman, kvm: Path, needs: Needs
) -> None:
    loaders = {one.labels["loader"] for one in samples(run("show", "--format=metrics").out).having("domcaps_loader_present")}
    needs("firmware", loaders and EMULATOR_HERE == EMULATOR, "it is found from a container")
    with podman.serving(FOREIGN, kvm, how="outside") as container:
        await_ready(container)
        found = Served(FOREIGN, container).scrape()
    assert {one.labels["loader"] for one in found.having("domcaps_loader_present")} == loaders
    assert {one.labels["version"][:4] for one in found.having("domcaps_document_info")} == {VERSIONS[FOREIGN]}


def descriptor(code: str, variables: str) -> Mapping[str, object]:
    parts = {"executable": {"filename": code, "format": "raw"}, "nvram-template": {"filename": variables, "format": "raw"}}
    return {
        "description": "a host's",
        "interface-types": ["uefi"],
        "mapping": {"device": "flash", "mode": "split", **parts},
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": [],
        "tags": [],
    }


# ---- it ends, and nothing stays behind ---------------------------------------------------------------------------------------

FORKING = "#!/bin/sh\nsleep 0.1 &\nsleep 1000 &\nexec sleep 1000\n"
"""An emulator that hangs, and has children."""


def zombies(pid: int) -> int:
    states = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0] for one in children(pid)]
    return states.count("Z")


@pytest.mark.parametrize(("entry", "reaped"), [((), True), (("--entrypoint", OURS), False)], ids=["with its init", "without"])
def test_what_a_killed_qemu_leaves_is_reaped_by_the_images_init_alone(
    entry: tuple[str, ...], reaped: bool, podman: Podman, kvm: Path, tmp_path: Path
) -> None:
    hanging = tmp_path / "qemu"
    hanging.write_text(FORKING)
    hanging.chmod(0o755)
    flags = (*entry, "--volume", f"{hanging}:{EMULATOR}:ro")
    with podman.serving(DEBIAN, kvm, "--probe.timeout=300ms", flags=flags) as container:
        await_ready(container)
        found = [Served(DEBIAN, container).scrape() for _ in range(5)][-1]
        assert found.value("domcaps_probe_failures_total", driver="qemu", reason="timeout") >= 4
        time.sleep(1)
        left = zombies(container.pid)
    assert left == 0 if reaped else left >= 4


@pytest.mark.parametrize("image", BASES)
def test_it_stops_at_once_when_it_is_told(image: str, podman: Podman, kvm: Path) -> None:
    with podman.serving(image, kvm) as container:
        await_ready(container)
        Served(image, container).scrape()
        before = time.monotonic()
        os.kill(container.pid, signal.SIGTERM)
        assert eventually(lambda: not Path(f"/proc/{container.pid}").exists(), 10)
        assert time.monotonic() - before < 3  # a quarter of a second where nobody else uses the machine
        assert container.stop() == 0


def test_what_was_lost_is_known_to_the_next_container_and_forgotten_as_the_readme_says(
    podman: Podman, kvm: Path, needs: Needs, tmp_path: Path
) -> None:
    needs("kvm", Path("/dev/kvm").exists(), "it is taken away")
    with podman.serving(FOREIGN, kvm, state="kept") as container:
        await_ready(container)
        assert not Served(FOREIGN, container).scrape().having("domcaps_lost_timestamp_seconds")
    nothing = node(tmp_path / "kvm", os.makedev(1, 3))
    with podman.serving(FOREIGN, nothing, state="kept") as container:
        await_ready(container)
        (lost,) = Served(FOREIGN, container).scrape().having("domcaps_lost_timestamp_seconds")
        container.exec(in_a_pod("forget"))
        assert not Served(FOREIGN, container).scrape().having("domcaps_lost_timestamp_seconds")
    assert lost.labels["element"] == "guest"


# ---- what it costs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", BASES)
def test_the_exporter_adds_little_to_an_image(image: str, podman: Podman, record_property: Callable[[str, object], None]) -> None:
    with podman.mounted(image) as root:
        argv = ["du", "--summarize", "--block-size=1", str(root / "opt/domcaps-exporter"), str(root)]
        ours, whole = (int(line.split()[0]) for line in subprocess.check_output(argv, text=True).splitlines())
    record_property("said", f"{image}: the exporter has {ours >> 20} MB, the image {(ours + whole) >> 20} MB")
    assert ours < LARGEST
