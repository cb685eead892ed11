from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from domcaps_exporter import UnreadableAnswer
from domcaps_qemu.cpu_map import INDEX, SIZE_LIMIT, Chip, CpuMap, Register, read_index

INSTALLED = Path("/usr/share/libvirt/cpu_map")

INDEX_XML = b"""
<cpus>
  <arch name='x86'>
    <include filename='vendors.xml'/>
    <group name='all'><include filename='model.xml'/></group>
  </arch>
  <arch name='ppc64'><include filename='power.xml'/></arch>
  <arch name='arm'><include filename='arm.xml'/></arch>
  <news/>
</cpus>
"""
VENDORS = b"<cpus><!-- who --><vendor name='Acme' string='AcmeAcmeAcme'/><vendor name='Zeta' string='ZetaZetaZeta'/></cpus>"
FEATURES = b"""
<cpus>
  <feature name='wide'><cpuid eax_in='1' ecx='0x3'/></feature>
  <feature name='one'><alias name='uno' source='qemu'/><cpuid eax_in='0x00000001' ecx_in='0x0' ecx='0x1'/></feature>
  <feature name='two'><cpuid eax_in='1' ecx='0x2'/></feature>
  <feature name='low'><cpuid eax_in='0x7' ecx_in='0x1' ecx='0x1'/></feature>
  <feature name='msr-no'><msr index='0x10a' edx='0x00000001' eax='0x0'/></feature>
  <feature name='dreamt'><oracle word='x'/></feature>
</cpus>
"""
PARENT = b"""
<cpus>
  <model name='Parent'>
    <check partial='compat'/>
    <decode host='on' guest='on'/>
    <signature family='6' model='85' stepping='0-4,7'/>
    <signature family='6' model='86'/>
    <vendor name='Acme'/>
    <feature name='one'/>
    <feature name='low' removed='yes'/>
    <feature name='msr-no' added='yes'/>
  </model>
</cpus>
"""
CHILD = b"<cpus><model name='Child'><decode host='on' guest='off'/><model name='Parent'/><feature name='two'/></model></cpus>"
TWIN = b"<cpus><model name='Parent-v1'><decode host='on' guest='off'/><model name='Parent'/></model></cpus>"
FILES = {"vendors.xml": VENDORS, "features.xml": FEATURES, "parent.xml": PARENT, "child.xml": CHILD, "twin.xml": TWIN}


@pytest.fixture
def cpu_map() -> CpuMap:
    return CpuMap.parse(FILES, "x86_64")


# ---- the index ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("x86_64", ("vendors.xml", "model.xml")),
        ("i686", ("vendors.xml", "model.xml")),
        ("ppc64le", ("power.xml",)),
        ("aarch64", ()),
        ("s390x", ()),
    ],
)
def test_an_architecture_has_its_familys_files_in_order(arch: str, names: tuple[str, ...]) -> None:
    assert read_index(INDEX_XML, arch) == names


@pytest.mark.parametrize("name", ["../../etc/shadow", "/etc/shadow", ""])
def test_a_file_outside_the_folder_is_not_read(name: str) -> None:
    with pytest.raises(UnreadableAnswer, match=r"index\.xml: found"):
        read_index(f"<cpus><arch name='x86'><include filename='{name}'/></arch></cpus>".encode(), "x86_64")


# ---- features and models -----------------------------------------------------------------------------------------------------


def test_a_feature_is_its_registers_bits(cpu_map: CpuMap) -> None:
    assert cpu_map.features["one"].bits == cpu_map.place(Register("cpuid", 1, 0, "ecx"), 1)
    assert cpu_map.features["low"].bits == cpu_map.place(Register("cpuid", 7, 1, "ecx"), 1)
    assert cpu_map.features["msr-no"].bits == cpu_map.place(Register("msr", 0x10A, 0, "edx"), 1)


def test_registers_do_not_overlap(cpu_map: CpuMap) -> None:
    whole = [cpu_map.place(register, 0xFFFFFFFF) for register in cpu_map.registers]
    assert sum(whole) == (1 << 32 * len(whole)) - 1


def test_only_what_a_model_specific_register_tells_is_an_msr_feature(cpu_map: CpuMap) -> None:
    assert [name for name in cpu_map.features if cpu_map.is_msr(name)] == ["msr-no"]
    assert not cpu_map.is_msr("nowhere")


def test_bits_are_spelled_in_the_maps_order_and_used_once(cpu_map: CpuMap) -> None:
    assert cpu_map.spell(cpu_map.union(["two", "one", "low"])) == ["wide", "low"]
    assert cpu_map.spell(cpu_map.union(["two"])) == ["two"]


def test_no_bits_are_spelled_with_fewer_features_than_it_takes_at_least(cpu_map: CpuMap) -> None:
    named = [1 << bit for bit in range(cpu_map.union(cpu_map.features).bit_length()) if cpu_map.union(cpu_map.features) >> bit & 1]
    unnamed = 1 << 31
    for chosen in range(1 << len(named)):
        bits = unnamed | sum(bit for place, bit in enumerate(named) if chosen >> place & 1)
        assert cpu_map.fewest(bits) <= len(cpu_map.spell(bits))
    assert cpu_map.fewest(sum(named)) > 0


def test_a_feature_told_in_unknown_words_is_never_spelled(cpu_map: CpuMap) -> None:
    assert cpu_map.features["dreamt"].bits == 0
    assert cpu_map.spell(0) == []


def test_a_register_that_no_feature_is_in_has_no_bits(cpu_map: CpuMap) -> None:
    assert cpu_map.place(Register("cpuid", 0x40000000, 0, "eax"), 0xFFFFFFFF) == 0


def test_a_model_has_its_own_features_but_not_the_added_and_removed_ones(cpu_map: CpuMap) -> None:
    parent = cpu_map.models["Parent"]
    assert cpu_map.spell(parent.bits) == ["one"]
    assert parent.removed == ("low",)
    assert parent.guest


def test_a_model_has_what_its_ancestor_has_but_the_decision_to_describe_a_guest(cpu_map: CpuMap) -> None:
    child = cpu_map.models["Child"]
    assert cpu_map.spell(child.bits) == ["wide"]
    assert (child.vendor, child.removed, child.guest) == ("Acme", (), False)
    assert child.fits(Chip(6, 86, 1))


def test_what_an_ancestor_lost_a_model_does_not_inherit() -> None:
    grown = b"<cpus><model name='Old'><feature name='one'/></model></cpus>"
    shrunk = b"<cpus><model name='Less'><model name='Old'/><feature name='one' removed='yes'/></model></cpus>"
    last = b"<cpus><model name='Last'><model name='Less'/><feature name='two'/></model></cpus>"
    cpu_map = CpuMap.parse({"f": FEATURES, "a": grown, "b": shrunk, "c": last}, "x86_64")
    assert cpu_map.spell(cpu_map.models["Less"].bits) == ["one"]
    assert cpu_map.spell(cpu_map.models["Last"].bits) == ["two"]


def test_a_model_that_adds_nothing_is_its_ancestors_canonical_name(cpu_map: CpuMap) -> None:
    assert cpu_map.canonical == {"Parent": "Parent-v1"}


@pytest.mark.parametrize(
    ("chip", "fits"),
    [
        (Chip(6, 85, 0), True),
        (Chip(6, 85, 4), True),
        (Chip(6, 85, 7), True),
        (Chip(6, 85, 5), False),
        (Chip(6, 86, 15), True),
        (Chip(15, 85, 0), False),
    ],
)
def test_a_signature_is_family_model_and_its_steppings(cpu_map: CpuMap, chip: Chip, fits: bool) -> None:
    assert cpu_map.models["Parent"].fits(chip) is fits


def test_a_vendor_is_known_by_its_twelve_characters(cpu_map: CpuMap) -> None:
    assert cpu_map.vendor("ZetaZetaZeta") == "Zeta"
    assert cpu_map.vendor("NobodyAtAll.") is None


def test_a_power_processor_is_known_by_its_version_register_under_a_mask() -> None:
    power = b"<cpus><model name='P'><vendor name='I'/><pvr value='0x004b0000' mask='0xffff0000'/></model></cpus>"
    cpu_map = CpuMap.parse({"power.xml": power}, "ppc64")
    found = cpu_map.with_pvr(0x004B0201)
    assert found is not None
    assert (found.name, found.vendor) == ("P", "I")
    assert cpu_map.with_pvr(0x004C0201) is None


# ---- what is no map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected XML"),
        (b"<cpus>", "expected XML"),
        (b"\xff\xfe", "expected XML"),
        (b"<!DOCTYPE cpus><cpus/>", "found a DOCTYPE"),
        (b"<!DOCTYPE c [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><cpus>&e;</cpus>", "found a DOCTYPE"),
        (b"<cpus>" + b" " * SIZE_LIMIT + b"</cpus>", "bytes; expected at most"),
        (b"<cpus><feature/></cpus>", "<feature> without 'name'"),
        (b"<cpus><feature name='f'><cpuid ecx='1'/></feature></cpus>", "<cpuid> without 'eax_in'"),
        (b"<cpus><feature name='f'><cpuid eax_in='one'/></feature></cpus>", "ValueError"),
        (b"<cpus><model name='m'><feature name='nowhere'/></model></cpus>", "KeyError: 'nowhere'"),
        (b"<cpus><model name='m'><model name='nobody'/></model></cpus>", "KeyError: 'nobody'"),
        (b"<cpus><model name='m'><signature family='6' model='x'/></model></cpus>", "ValueError"),
        (b"<cpus><model name='m'><signature family='6' model='1' stepping='0-99999999999'/></model></cpus>", "stepping '0-9+'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_files_name(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableAnswer, match=message) as refused:
        CpuMap.parse({"x86_odd.xml": data}, "x86_64")
    assert str(refused.value).startswith("x86_odd.xml: ")


# ---- real maps ---------------------------------------------------------------------------------------------------------------


def on_disk(folder: Path, arch: str) -> CpuMap:
    names = read_index((folder / INDEX).read_bytes(), arch)
    return CpuMap.parse({name: (folder / name).read_bytes() for name in names}, arch)


def check(folder: Path) -> None:
    began = time.process_time()
    x86 = on_disk(folder, "x86_64")
    assert time.process_time() - began < 1.0
    assert len(x86.models) > 50
    assert {"Intel", "AMD"} <= x86.vendors.keys()
    assert all(feature.bits for feature in x86.features.values())
    assert x86.models["EPYC"].vendor == "AMD"
    assert any(model.guest for model in x86.models.values())
    power = on_disk(folder, "ppc64le").with_pvr(0x004E1200)
    assert power is not None
    assert power.name == "POWER9"


def test_the_installed_libvirts_map_is_read() -> None:
    if not (INSTALLED / INDEX).exists():
        pytest.skip("needs libvirt: its CPU map is not installed here")
    check(INSTALLED)


def test_the_corpus_map_is_read() -> None:
    if "DOMCAPS_LIBVIRT_CORPUS" not in os.environ:
        pytest.skip("needs libvirt's corpus: DOMCAPS_LIBVIRT_CORPUS does not say where it is")
    folder = Path(os.environ["DOMCAPS_LIBVIRT_CORPUS"]) / "cpu_map"
    check(folder)
    x86 = on_disk(folder, "x86_64")
    assert len(x86.models) == 150
    assert x86.canonical["EPYC-IBPB"] == "EPYC-v2"
