from __future__ import annotations

from collections.abc import Iterable

import pytest

from domcaps_exporter.model import CpuFeature, HostModel
from domcaps_qemu.cpu_map import Chip, CpuMap
from domcaps_qemu.cpu_models import Definition
from domcaps_qemu.host_model import (
    Processor,
    asked,
    expanded,
    host_model_ppc64,
    host_model_s390,
    host_model_x86,
    leaves_wanted,
    msrs_wanted,
)

PROFILE, NEW = (11, 3), (12, 8)
LETTERS = "abcdefgh"
UNTOLD = Chip(0, 0, 0)


def model(name: str, *features: str, ancestor: str = "", vendor: str = "", extra: str = "", guest: str = "on") -> str:
    parts = [f"<model name='{ancestor}'/>" if ancestor else "", f"<vendor name='{vendor}'/>" if vendor else "", extra]
    own = "".join(f"<feature name='{feature}'/>" for feature in features)
    return f"<model name='{name}'><decode host='on' guest='{guest}'/>{''.join(parts)}{own}</model>"


def a_map(*models: str) -> CpuMap:
    """Features a…h are bits 0…7 of CPUID 7 EBX; `no` is an MSR's, `far` an extended leaf's, `cmt` one that QEMU never had."""
    features = "".join(f"<feature name='{name}'><cpuid eax_in='7' ebx='{1 << at}'/></feature>" for at, name in enumerate(LETTERS))
    features += "<feature name='hle'><cpuid eax_in='7' ebx='0x10000'/></feature>"
    features += "<feature name='far'><cpuid eax_in='0x80000001' ecx='1'/></feature>"
    features += "<feature name='later'><cpuid eax_in='7' ecx_in='1' eax='1'/></feature>"
    features += "<feature name='cmt'><cpuid eax_in='7' ebx='0x20000'/></feature>"
    features += "<feature name='no'><msr index='0x10a' edx='1'/></feature>"
    vendors = "<vendor name='Intel' string='GenuineIntel'/><vendor name='AMD' string='AuthenticAMD'/>"
    return CpuMap.parse({"x86.xml": f"<cpus>{vendors}{features}{''.join(models)}</cpus>".encode()}, "x86_64")


def processor(cpu_map: CpuMap, features: Iterable[str], vendor: str | None = None, chip: Chip = UNTOLD) -> Processor:
    return Processor(cpu_map.union(features), vendor, chip)


def described(cpu_map: CpuMap, features: Iterable[str], vendor: str | None = None, chip: Chip = UNTOLD) -> HostModel:
    offered = [Definition(name, ()) for name in cpu_map.models]
    found = host_model_x86(processor(cpu_map, features, vendor, chip), offered, cpu_map, PROFILE, from_qemu=True)
    assert found is not None
    return found


def features(*signed: str) -> tuple[CpuFeature, ...]:
    return tuple(CpuFeature(one[1:], {"+": "require", "-": "disable"}[one[0]]) for one in signed)


# ---- the nearest model -------------------------------------------------------------------------------------------------------


def test_what_the_processor_has_more_is_required_and_what_it_lacks_is_disabled() -> None:
    found = described(a_map(model("M", "a", "c")), "bc", "AMD")
    assert found == HostModel("M", "forbid", "AMD", features=features("+b", "-a"))


def test_the_model_with_the_fewest_differences_is_taken() -> None:
    assert described(a_map(model("Far", "a"), model("Near", "a", "b"), model("None")), "abc").model == "Near"


def test_of_two_that_are_as_near_the_later_in_the_map_is_taken() -> None:
    assert described(a_map(model("Old", "a"), model("New", "a")), "ab").model == "New"


def test_a_disabled_feature_costs_more_than_a_required_one() -> None:
    assert described(a_map(model("Lacking", "a"), model("Excessive", "a", "b", "c")), "ab").model == "Lacking"


def test_libvirt_overlooks_the_last_entries_once_it_has_met_disabled_ones() -> None:
    # Wrong is described by +e -a -b -c: with the last one overlooked it costs (4 - 2) + 2 + 3 = 7, in full it would be
    # (4 - 3) + 2 + 3 + 4 = 10. Empty, with nothing but required features, costs 8.
    shared = ["d", "f", "g", "h", "hle", "far", "later"]
    assert described(a_map(model("Empty"), model("Wrong", "a", "b", "c", *shared)), [*shared, "e"]).model == "Wrong"


def test_a_model_for_this_very_chip_beats_a_nearer_one() -> None:
    chip = "<signature family='6' model='85' stepping='0-4'/>"
    cpu_map = a_map(model("Same", "h", extra=chip), model("Alike", "a", "b"))
    assert described(cpu_map, "ab", chip=Chip(6, 85, 4)).model == "Same"
    assert described(cpu_map, "ab", chip=Chip(6, 85, 5)).model == "Alike"


def test_another_makers_model_is_not_considered() -> None:
    cpu_map = a_map(model("Mine", "a", "b", vendor="AMD"), model("Nobodys"))
    assert described(cpu_map, "ab", "Intel").model == "Nobodys"
    assert described(cpu_map, "ab", None).model == "Mine"


def test_a_model_that_describes_no_guests_is_not_considered() -> None:
    assert described(a_map(model("Plain", "a"), model("Plain-v1", "a", "b", guest="off")), "ab").model == "Plain"


def test_only_what_qemu_lists_is_considered() -> None:
    cpu_map = a_map(model("Here"), model("Nearer", "a"))
    found = host_model_x86(processor(cpu_map, "a"), [Definition("Here")], cpu_map, PROFILE, from_qemu=True)
    assert found is not None
    assert found.model == "Here"
    assert host_model_x86(processor(cpu_map, "a"), [], cpu_map, PROFILE, from_qemu=True) is None


def test_what_qemu_misses_for_a_model_is_disabled_though_the_map_does_not_count_it_to_the_model() -> None:
    cpu_map = a_map(model("M", "a"))
    offered = [Definition("M", ("c", "unheard-of"))]
    found = host_model_x86(processor(cpu_map, "ab"), offered, cpu_map, PROFILE, from_qemu=True)
    assert found is not None
    assert found.features == features("+b", "-c")


def test_what_was_taken_out_of_a_model_is_disabled_unless_the_processor_has_it() -> None:
    cpu_map = a_map(model("M", "a", extra="<feature name='c' removed='yes'/><feature name='d' removed='yes'/>"))
    assert described(cpu_map, "ad").features == features("+d", "-c")


def test_transactional_memory_that_does_not_work_is_left_out() -> None:
    cpu_map = a_map(model("M", "a"))
    assert described(cpu_map, ["a", "hle"], "Intel", Chip(6, 63, 3)).features == ()
    assert described(cpu_map, ["a", "hle"], "Intel", Chip(6, 63, 4)).features == features("+hle")
    assert described(cpu_map, ["a", "hle"], "AMD", Chip(6, 63, 3)).features == features("+hle")


def test_features_of_model_specific_registers_are_left_out_where_qemu_does_not_say_what_is_missing() -> None:
    cpu_map = a_map(model("M"))
    found = host_model_x86(processor(cpu_map, ["a", "no"]), [Definition("M")], cpu_map, PROFILE, from_qemu=True, msrs=False)
    assert found is not None
    assert found.features == features("+a")


@pytest.mark.parametrize(("profile", "order"), [(PROFILE, features("+b", "-a")), (NEW, features("-a", "+b"))])
def test_newer_libvirts_sort_features_by_name(profile: tuple[int, int], order: tuple[CpuFeature, ...]) -> None:
    cpu_map = a_map(model("M", "a"))
    found = host_model_x86(processor(cpu_map, "b"), [Definition("M")], cpu_map, profile, from_qemu=True)
    assert found is not None
    assert found.features == order


# ---- where a processor comes from --------------------------------------------------------------------------------------------


def test_qemus_properties_are_a_processor() -> None:
    cpu_map = a_map(model("M"))
    props = {
        "a": True,
        "b": False,
        "min-level": 7,
        "vendor": "AuthenticAMD",
        "family": 23,
        "model": 1,
        "stepping": 2,
        "unheard": True,
    }
    found = expanded(props, None, "x86_64", cpu_map, PROFILE)
    assert found == Processor(cpu_map.union("a"), "AMD", Chip(23, 1, 2))


def test_a_feature_that_only_does_not_migrate_is_there() -> None:
    cpu_map = a_map(model("M"))
    found = expanded({"a": False, "b": False}, {"a": True, "b": False, "c": True}, "x86_64", cpu_map, PROFILE)
    assert found is not None
    assert cpu_map.spell(found.bits) == ["a"]


def test_a_vendor_that_is_no_vendor_makes_no_processor() -> None:
    assert expanded({"vendor": "Acme"}, None, "x86_64", a_map(model("M")), PROFILE) is None
    unknown = expanded({"vendor": "AcmeAcmeAcme"}, None, "x86_64", a_map(model("M")), PROFILE)
    assert unknown is not None
    assert unknown.vendor is None


INTEL = {(0, 0): (7, 0x756E6547, 0x6C65746E, 0x49656E69), (1, 0): (0x000306C3, 0, 0, 0), (0x80000000, 0): (0x80000008, 0, 0, 0)}


def test_cpuid_tells_the_vendor_the_chip_and_the_features() -> None:
    cpu_map = a_map(model("M"))
    leaves = INTEL | {(7, 0): (1, 0b101, 0, 0), (7, 1): (1, 0, 0, 0), (0x80000001, 0): (0, 0, 1, 0)}
    found = asked(leaves, cpu_map, {0x10A: 1 << 32})
    assert (found.vendor, found.chip) == ("Intel", Chip(6, 60, 3))
    assert cpu_map.spell(found.bits) == ["a", "c", "far", "later", "no"]


def test_a_family_above_fifteen_is_the_sum_of_both_its_fields() -> None:
    assert asked({(1, 0): (0x00A20F12, 0, 0, 0)}, a_map(model("M")), {}).chip == Chip(25, 33, 2)


def test_what_a_processor_says_beyond_its_last_leaf_is_no_feature() -> None:
    cpu_map = a_map(model("M"))
    short = {(0, 0): (6, 0, 0, 0), (0x80000000, 0): (0x80000000, 0, 0, 0)}
    assert asked(short | {(7, 0): (0, 1, 0, 0), (0x80000001, 0): (0, 0, 1, 0)}, cpu_map, {}).bits == 0
    assert cpu_map.spell(asked({(7, 0): (0, 1, 0, 0), (7, 1): (1, 0, 0, 0)}, cpu_map, {}).bits) == ["a"]


def test_every_leaf_that_matters_is_wanted() -> None:
    assert leaves_wanted(a_map(model("M"))) == {(0, 0), (1, 0), (7, 0), (7, 1), (0x80000000, 0), (0x80000001, 0)}


def test_old_libvirts_read_one_register_and_only_of_a_processor_that_has_it() -> None:
    capable = "<feature name='arch-capabilities'><cpuid eax_in='7' edx='0x20000000'/></feature>"
    vmx = "<feature name='vmx-one'><msr index='0x480' edx='1'/></feature><feature name='no'><msr index='0x10a' eax='1'/></feature>"
    cpu_map = CpuMap.parse({"x86.xml": f"<cpus>{capable}{vmx}</cpus>".encode()}, "x86_64")
    plain, having = INTEL | {(7, 0): (0, 0, 0, 0)}, INTEL | {(7, 0): (0, 0, 0, 0x20000000)}
    assert msrs_wanted(plain, cpu_map, (9, 0)) == set()
    assert msrs_wanted(having, cpu_map, (9, 0)) == {0x10A}
    assert msrs_wanted(plain, cpu_map, PROFILE) == {0x10A, 0x480}


def test_libvirts_own_look_at_the_processor_allows_a_fallback_and_leaves_out_what_qemu_never_had() -> None:
    cpu_map = a_map(model("M", "a"))
    found = host_model_x86(processor(cpu_map, ["a", "b", "cmt"], "AMD"), [Definition("M")], cpu_map, PROFILE, from_qemu=False)
    assert found == HostModel("M", "allow", "AMD", features=features("+b"))


# ---- s390 and ppc64 ----------------------------------------------------------------------------------------------------------


def test_on_s390_the_model_is_what_qemu_says() -> None:
    reply = {"name": "z14-base", "props": {"msa5": True, "aen": False, "note": "x"}}
    assert host_model_s390(reply, PROFILE) == HostModel("z14-base", "forbid", features=features("+msa5", "-aen"))
    assert host_model_s390(reply, NEW).features == features("-aen", "+msa5")
    assert host_model_s390({"name": "zEC12"}, PROFILE) == HostModel("zEC12", "forbid")


def test_on_power_the_model_is_the_version_registers_where_qemu_has_it() -> None:
    power = CpuMap.parse(
        {"p": b"<cpus><model name='POWER9'><vendor name='IBM'/><pvr value='0x004e0000' mask='0xffff0000'/></model></cpus>"}, "ppc64"
    )
    assert host_model_ppc64(0x004E1200, [Definition("POWER9")], power) == HostModel("POWER9", "allow", "IBM")
    assert host_model_ppc64(0x004E1200, [], power) == HostModel("POWER9", "allow", "IBM")
    assert host_model_ppc64(0x004E1200, [Definition("POWER8")], power) is None
    assert host_model_ppc64(0x00801200, [Definition("POWER9")], power) is None
