"""README's rule for polkit, tried: on a real polkitd and a real libvirtd, by the user that it is for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.endtoend import ARCH, COMMAND, EMULATOR, NAME, Samples
from tests.live import polkit
from tests.live.libvirtd import NotStarted
from tests.live.polkit import Guarded

pytestmark = pytest.mark.slow

(RULE,) = re.findall(r"```js\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
GUEST = f"""<domain type='qemu'>
  <name>NAME</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='{ARCH}'>hvm</type></os>
</domain>
"""


@pytest.fixture(scope="module", params=[RULE, ""], ids=["with the rule", "without it"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    if os.geteuid() != 0:
        pytest.skip("needs root: polkit lets everybody ask a session libvirt")
    lacking = polkit.lacking() or ("" if EMULATOR else NAME)
    if lacking:
        pytest.skip(f"needs polkit: {lacking} is not here")
    try:
        with polkit.guarded(tmp_path_factory.mktemp("path"), EMULATOR, request.param) as running:
            yield running
    except NotStarted as error:
        pytest.skip(f"needs polkit: it does not start: {error}")


@pytest.fixture
def has_rule(request: pytest.FixtureRequest) -> bool:
    return "with the rule" in request.node.name


@pytest.fixture
def defined(guarded: Guarded, tmp_path: Path) -> Iterator[Path]:
    """The folder of the descriptions of a network and two guests, of which root has defined `ours`."""
    for name in ("ours", "other"):
        (tmp_path / name).write_text(GUEST.replace("NAME", name))
    (tmp_path / "net").write_text("<network><name>net</name></network>")
    guarded.libvirt.virsh("define", str(tmp_path / "ours"))
    yield tmp_path
    guarded.libvirt.virsh("undefine", "ours")


def test_the_exporter_gets_domain_capabilities_with_the_rule_and_a_refusal_without(
    guarded: Guarded, has_rule: bool, tmp_path: Path
) -> None:
    file = tmp_path / "domcaps.yaml"
    file.write_text(f"drivers: {{libvirt: {{uris: ['{guarded.libvirt.uri}']}}}}\n")
    done = guarded.run(COMMAND, "--no-driver.qemu", f"--config.file={file}", "show", "--format=metrics")
    found = Samples.of(text_string_to_metric_families(done.stdout))
    if has_rule:
        assert found.value("domcaps_probe_success", driver="libvirt") == 1, done
        assert {Path(one.labels["emulator"]).name for one in found.having("domcaps_document_info")} == {NAME}
    else:
        assert not found.about_documents(), done
        assert found.value("domcaps_probe_failures_total", driver="libvirt", reason="refused") == 1


def test_the_user_may_do_nothing_with_guests_nor_look_at_them(guarded: Guarded, defined: Path) -> None:
    other, before = str(defined / "other"), guarded.libvirt.virsh("dumpxml", "ours")
    for command in (
        *(("list", "--all"), ("domstats",), ("dominfo", "ours"), ("dumpxml", "ours"), ("nodedev-list",), ("iface-list",)),
        *(("net-list",), ("pool-list",), ("secret-list",), ("nwfilter-list",), ("setmem", "ours", "32M", "--config")),
        *(("start", "ours"), ("undefine", "ours"), ("autostart", "ours"), ("define", other), ("create", other)),
        *(("net-define", str(defined / "net")), ("pool-define-as", "pool", "dir", "--target", "/nowhere")),
    ):
        done = guarded.virsh(*command)
        assert done.returncode != 0, (command, done)
        assert re.search("denied|failed to get domain|no polkit agent", done.stderr), (command, done)
        assert not done.stdout.strip(), (command, done)
    assert guarded.libvirt.virsh("list", "--all", "--name").split() == ["ours"]
    assert guarded.libvirt.virsh("dumpxml", "ours") == before
    assert guarded.libvirt.virsh("domstate", "ours").strip() == "shut off"


def test_what_remains_is_to_set_the_hosts_memory_and_to_translate(guarded: Guarded, has_rule: bool, defined: Path) -> None:
    size = str(os.sysconf("SC_PAGE_SIZE") // 1024)
    for command in (("allocpages", "--add", size, "0"), ("domxml-to-native", "qemu-argv", str(defined / "other"))):
        done = guarded.virsh(*command)
        assert (re.search("denied|no polkit agent", done.stderr) is None) is has_rule, (command, done)
