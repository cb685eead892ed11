"""Paths of a host whose root is mounted elsewhere."""

from pathlib import Path

import pytest

from domcaps_exporter.rootfs import Paths


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    for folder in ("root/usr/share/ovmf", "root/etc", "proc/sys", "sys/module"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root/usr/share/ovmf/CODE.fd").write_text("firmware")
    (tmp_path / "root/usr/share/OVMF").symlink_to("/usr/share/ovmf")
    (tmp_path / "root/up").symlink_to("../../../../usr")
    (tmp_path / "root/mounts").symlink_to("/proc/sys")
    (tmp_path / "root/loop").symlink_to("loop")
    return Paths(*(str(tmp_path / place) for place in ("root", "proc", "sys")))


def test_an_absolute_link_stays_within_the_rootfs(host: Paths) -> None:
    assert Path(host.real("/usr/share/OVMF/CODE.fd")).read_text() == "firmware"


def test_a_resolved_path_is_the_hosts_own_name_for_it(host: Paths) -> None:
    assert host.resolved("/usr/share/OVMF/./CODE.fd") == "/usr/share/ovmf/CODE.fd"


@pytest.mark.parametrize("path", ["/up/share/ovmf", "/../../usr/share/ovmf", "/etc/../usr//share/ovmf/"])
def test_no_path_climbs_out_of_the_rootfs(host: Paths, path: str) -> None:
    assert Path(host.real(path)) == Path(host.rootfs, "usr/share/ovmf")


@pytest.mark.parametrize(
    ("path", "place"), [("/proc/sys", "proc/sys"), ("/sys/module", "sys/module"), ("/mounts", "proc/sys"), ("/proc", "proc")]
)
def test_proc_and_sys_have_places_of_their_own(host: Paths, path: str, place: str) -> None:
    assert Path(host.real(path)) == Path(host.rootfs).parent / place


def test_a_loop_of_links_is_an_error(host: Paths) -> None:
    with pytest.raises(OSError, match="Too many levels"):
        host.real("/loop")


@pytest.mark.parametrize("path", ["/usr/nothing", "/usr/share/nothing/CODE.fd"])
def test_what_is_not_there_is_not_found(host: Paths, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        host.real(path)


def test_a_relative_path_means_nothing() -> None:
    with pytest.raises(ValueError, match="absolute"):
        Paths().real("etc")


def test_without_a_rootfs_the_walk_finds_what_the_kernel_finds(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(tmp_path)
    path = f"{tmp_path}/here/../{tmp_path.name}/here"
    assert Paths().resolved(path) == str(Path(path).resolve())
