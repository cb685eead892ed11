"""The processor's own words."""

import platform
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from domcaps_exporter.model import ABSENT
from domcaps_exporter.processor import cpuid, first_processor, msr

x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86 processor")


def test_only_the_first_paragraph_counts_and_no_line_that_moves(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\ncpu MHz\t\t: 2445.4\nflags\t: fpu\n\nprocessor\t: 1\n")
    assert first_processor(str(cpuinfo)) == b"processor\t: 0\nflags\t: fpu"


def test_a_file_of_many_processors_is_not_read_to_its_end(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_bytes(b"x" * 100_000)
    assert len(first_processor(str(cpuinfo))) == 8192


@x86
def test_cpuid_names_the_vendor_that_the_kernel_names() -> None:
    answer = cpuid("0", "0")
    assert isinstance(answer, bytes)
    _, ebx, ecx, edx = (int(register, 16).to_bytes(4, "little") for register in answer.split())
    assert b"vendor_id\t: " + ebx + edx + ecx in first_processor("/proc/cpuinfo")


@x86
def test_cpuid_answers_leaf_and_subleaf_the_same_every_time() -> None:
    assert len({cpuid("7", "0") for _ in range(50)}) == 1
    assert cpuid("7", "0") != cpuid("7", "ff")


@x86
@pytest.mark.parametrize("leaf", ["g", "100000000", "-1"])
def test_a_leaf_that_is_no_32_bits_in_hex_is_refused(leaf: str) -> None:
    with pytest.raises(ValueError, match=r"hex|base 16|32 bits"):
        cpuid(leaf, "0")


@x86
def test_a_register_is_what_kvm_says_where_the_kernel_shows_none(needs: Callable[[str, object, str], None]) -> None:
    needs("kvm", Path("/dev/kvm").exists(), "it is asked")
    if Path("/dev/cpu/0/msr").exists():
        pytest.skip("needs a kernel without the module msr: it is asked first")
    answer = msr("10a")
    assert answer == msr("10A")
    assert isinstance(answer, bytes)
    assert re.fullmatch(b"[0-9a-f]{16}", answer)
    assert msr("ffffffff") in (ABSENT, b"0" * 16)


@x86
@pytest.mark.parametrize("index", ["g", "100000000", "-1"])
def test_an_index_that_is_no_32_bits_in_hex_is_refused(index: str) -> None:
    with pytest.raises(ValueError, match=r"base 16|32 bits"):
        msr(index)


@pytest.mark.skipif(platform.machine() == "x86_64", reason="another processor's case")
def test_another_processor_has_no_cpuid() -> None:
    assert cpuid("0", "0") == ABSENT
