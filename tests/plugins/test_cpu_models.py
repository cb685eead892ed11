from __future__ import annotations

from typing import Any

import pytest

from domcaps_exporter.model import CpuModel
from domcaps_qemu.cpu_map import CpuMap
from domcaps_qemu.cpu_models import custom_models, read_definitions, spelling
from domcaps_qemu.vendors import makers

OLD, PROFILE, NEW = (9, 0), (11, 3), (12, 8)

MAP = CpuMap.parse(
    {
        "x86.xml": b"""
<cpus>
  <vendor name='Acme' string='AcmeAcmeAcme'/>
  <feature name='one'><cpuid eax_in='1' ecx='1'/></feature>
  <model name='Zen'><decode host='on' guest='on'/><vendor name='Acme'/><feature name='one'/></model>
  <model name='Zen-v1'><decode host='on' guest='off'/><model name='Zen'/></model>
  <model name='Anon'><decode host='on' guest='on'/><feature name='one'/></model>
</cpus>"""
    },
    "x86_64",
)


def models_of(reply: list[dict[str, Any]], arch: str, cpu_map: CpuMap | None, profile: tuple[int, int]) -> tuple[CpuModel, ...]:
    return custom_models(read_definitions(reply, arch, cpu_map, profile), arch, cpu_map, profile)


def entry(name: str, *missing: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "unavailable-features": list(missing), **more}


def test_libvirt_lists_what_its_map_knows_and_never_host() -> None:
    reply = [entry("Zen"), entry("Unheard"), entry("host"), entry("Anon")]
    assert [model.name for model in models_of(reply, "x86_64", MAP, PROFILE)] == ["Anon", "Zen"]


def test_before_blockers_models_came_in_qemus_order() -> None:
    reply = [entry("Zen", "one"), entry("Anon")]
    assert models_of(reply, "x86_64", MAP, OLD) == (
        CpuModel("Zen", "no", vendor="Acme"),
        CpuModel("Anon", "yes", vendor="unknown"),
    )


@pytest.mark.parametrize(
    ("answer", "usable", "blockers"),
    [
        ({"name": "Zen"}, "unknown", ()),
        (entry("Zen"), "yes", ()),
        (entry("Zen", "b", "a", "b"), "no", ("a", "b")),
        (entry("Zen", "never-heard-of", "lahf-lm"), "no", ("lahf_lm", "never-heard-of")),
    ],
)
def test_a_model_is_usable_when_nothing_is_missing(answer: dict[str, Any], usable: str, blockers: tuple[str, ...]) -> None:
    (model,) = models_of([answer], "x86_64", MAP, PROFILE)
    assert (model.usable, model.blockers) == (usable, blockers)


def test_a_deprecated_model_says_so_and_others_say_nothing() -> None:
    models = models_of([entry("Anon", deprecated=True), entry("Zen", deprecated=False)], "x86_64", MAP, PROFILE)
    assert [model.deprecated for model in models] == ["yes", None]


def test_a_short_name_says_which_version_it_means_as_the_map_has_it() -> None:
    models = models_of([entry("Zen", **{"alias-of": "Zen-v7"}), entry("Zen-v1")], "x86_64", MAP, PROFILE)
    assert [model.canonical for model in models] == ["Zen-v1", None]


# ---- without a map -----------------------------------------------------------------------------------------------------------


def test_without_a_map_the_table_knows_models_and_makers() -> None:
    models = models_of([entry("EPYC-Rome"), entry("qemu64"), entry("Unheard")], "x86_64", None, PROFILE)
    assert [(model.name, model.vendor) for model in models] == [("EPYC-Rome", "AMD"), ("qemu64", "unknown")]


def test_without_a_map_a_name_is_an_alias_of_what_is_listed_too() -> None:
    reply = [
        entry("EPYC", **{"alias-of": "EPYC-v1"}),
        entry("EPYC-v1"),
        entry("Icelake-Client", **{"alias-of": "Icelake-Client-v1"}),
    ]
    assert [model.canonical for model in models_of(reply, "x86_64", None, PROFILE)] == ["EPYC-v1", None, None]


@pytest.mark.parametrize(
    ("profile", "names"),
    [(OLD, ["EPYC"]), (PROFILE, ["EPYC", "EPYC-Genoa"]), (NEW, ["EPYC", "EPYC-Genoa", "EPYC-Turin"])],
)
def test_without_a_map_a_libvirt_lists_what_it_knew(profile: tuple[int, int], names: list[str]) -> None:
    reply = [entry("EPYC"), entry("EPYC-Genoa"), entry("EPYC-Turin")]
    assert [model.name for model in models_of(reply, "x86_64", None, profile)] == names


def test_the_table_has_as_many_models_as_the_libvirts_it_was_made_of() -> None:
    assert [len(makers("x86", profile)) for profile in (OLD, PROFILE, NEW)] == [58, 150, 176]
    assert [len(makers("ppc64", profile)) for profile in (OLD, PROFILE, NEW)] == [7, 7, 8]


# ---- other architectures -----------------------------------------------------------------------------------------------------


def test_power_models_get_libvirts_spelling_and_others_are_left_out() -> None:
    reply = [{"name": "power9"}, {"name": "970fx"}, {"name": "powerpc_E5500"}]
    models = models_of(reply, "ppc64le", None, PROFILE)
    assert [(model.name, model.vendor) for model in models] == [("POWER9", "IBM"), ("POWERPC_e5500", "Freescale")]


@pytest.mark.parametrize(("profile", "vendor"), [(OLD, "unknown"), (PROFILE, "IBM")])
def test_newer_libvirts_know_who_makes_s390(profile: tuple[int, int], vendor: str) -> None:
    reply = [entry("z14"), entry("gen15a"), entry("qemu")]
    models = {model.name: model.vendor for model in models_of(reply, "s390x", None, profile)}
    assert models == {"z14": vendor, "gen15a": vendor, "qemu": "unknown"}


@pytest.mark.parametrize("arch", ["aarch64", "armv7l", "riscv64", "loongarch64"])
def test_where_libvirt_has_no_list_it_takes_every_model(arch: str) -> None:
    models = models_of([{"name": "b"}, {"name": "host"}, {"name": "a"}], arch, None, PROFILE)
    assert [(model.name, model.usable) for model in models] == [("a", "unknown"), ("b", "unknown")]


@pytest.mark.parametrize("arch", ["ppc", "sparc", "m68k", "riscv32", "mips64el"])
def test_an_architecture_without_a_cpu_driver_has_no_models(arch: str) -> None:
    assert models_of([{"name": "a"}], arch, None, PROFILE) == ()


# ---- spelling ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "feature", "profile", "spelled"),
    [
        ("x86_64", "pclmulqdq", OLD, "pclmuldq"),
        ("i686", "tsc-adjust", NEW, "tsc_adjust"),
        ("x86_64", "hv-vendor-id", OLD, "hv-vendor-id"),
        ("x86_64", "hv-vendor-id", PROFILE, "hv-vendor_id"),
        ("x86_64", "sse4.1", PROFILE, "sse4.1"),
        ("s390x", "lahf-lm", PROFILE, "lahf-lm"),
    ],
)
def test_x86_features_have_libvirts_spelling(arch: str, feature: str, profile: tuple[int, int], spelled: str) -> None:
    assert spelling(arch, feature, profile) == spelled


def test_definitions_keep_qemus_order_and_every_blocker() -> None:
    (one,) = read_definitions([entry("Unheard", "x-y", "ds-cpl", "x-y")], "x86_64", None, PROFILE)
    assert (one.blockers, one.usable) == (("x-y", "ds_cpl", "x-y"), False)
