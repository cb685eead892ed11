"""A document's elements and numbers, by the names that the metrics have for them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from tests.exporter.test_document import CUSTOM, DATA, DOCUMENT, HOST, documents

from domcaps_exporter.contents import numbers, walk
from domcaps_exporter.document import read
from domcaps_exporter.model import Document


def names(xml: bytes) -> list[str]:
    return [element.name for element in walk(read(DOCUMENT % xml))]


def found(xml: bytes) -> list[tuple[str, str, float]]:
    return list(numbers(read(DOCUMENT % xml)))


def test_containers_are_no_elements_and_what_has_a_supported_attribute_is_one() -> None:
    os_element = b"<os supported='yes'><loader supported='yes'/><enum name='a'/></os>"
    containers = b"<devices><disk supported='no'/><new/></devices><features><sgx><flc/></sgx></features>"
    assert names(os_element + b"<cpu/>" + containers) == ["os", "loader", "disk", "new", "sgx"]


def test_elements_are_found_at_any_depth_also_in_a_cpu_mode() -> None:
    assert names(b"<a><b><c supported='no'><d supported='yes'/></c></b></a>") == ["a", "c", "d"]
    assert names(HOST.format("<model>486</model><new supported='yes'/>").encode()) == ["new"]
    assert names(CUSTOM.format("<new supported='no'/>").encode()) == ["new"]


def test_a_recorded_documents_elements_are_libvirts() -> None:
    document = read((DATA / "libvirt-12.8" / "qemu_11.1.3-q35.kvm.x86_64.xml").read_bytes())
    elements = [element.name for element in walk(document)]
    assert elements[:6] == ["iothreads", "os", "firmwareFeatures", "loader", "varstore", "memoryBacking"]
    assert elements[-3:] == ["sgx", "hyperv", "launchSecurity"]
    assert all(element.supported is not None for element in walk(document))
    assert list(numbers(document)) == [("cpu", "maxphysaddr", 48)]


def test_numbers_are_named_after_their_element() -> None:
    sev = b"<features><sev supported='yes'><cbitpos>51</cbitpos><maxGuests>59</maxGuests><cpu0Id>QmxBd2==</cpu0Id></sev></features>"
    assert found(sev) == [("sev", "cbitpos", 51), ("sev", "maxGuests", 59)]


def test_sizes_are_in_bytes_and_sections_go_by_position_also_where_there_is_one() -> None:
    one = b"<section node='0' size='64' unit='KiB'/>"
    sgx = b"<sgx supported='yes'><flc>no</flc><section_size unit='KiB'>128</section_size><sections>%s</sections></sgx>"
    known = [
        ("sgx", "flc", 0),
        ("sgx", "section_size", 131072),
        ("sgx", "sections/0/node", 0),
        ("sgx", "sections/0/size", 65536),
    ]
    assert found(sgx % one) == known
    assert found(sgx % (one + b"<section node='7' size='1' unit='MB'/>")) == [
        *known,
        ("sgx", "sections/1/node", 7),
        ("sgx", "sections/1/size", 1e6),
    ]


def test_a_unit_that_is_no_size_changes_nothing() -> None:
    assert found(b"<clock><rate unit='kHz'>5</rate></clock>") == [("clock", "rate", 5)]


def test_switches_and_nested_numbers_are_parameters_and_texts_are_none() -> None:
    defaults = b"<spinlocks>4095</spinlocks><stimer_direct>on</stimer_direct><vendor_id>Linux KVM</vendor_id>"
    assert found(b"<hyperv supported='yes'><defaults>%s</defaults></hyperv>" % defaults) == [
        ("hyperv", "defaults/spinlocks", 4095),
        ("hyperv", "defaults/stimer_direct", 1),
    ]


@pytest.mark.parametrize("text", ["", "0x10", "1e3", "nan", "inf", "٣", "1_000", "9" * 400, "/usr/share/1", "true"])
def test_a_text_that_is_no_plain_decimal_number_is_no_parameter(text: str) -> None:
    assert found(f"<os><a>{text}</a></os>".encode()) == []


def test_the_values_of_a_loader_are_no_parameters() -> None:
    assert (
        found(
            b"<os supported='yes'><loader supported='yes'><value>1</value><enum name='type'><value>2</value></enum></loader></os>"
        )
        == []
    )


def test_attributes_and_repeated_siblings_and_an_elements_own_text_are_parameters() -> None:
    assert found(b"<a supported='yes' max='4'><b>1</b><b>2.5</b><c supported='no' max='9'/></a><d>7</d>") == [
        ("a", "max", 4),
        ("a", "b/0", 1),
        ("a", "b/1", 2.5),
        ("c", "max", 9),
        ("d", "d", 7),
    ]


def test_of_two_numbers_with_one_name_the_first_stands() -> None:
    assert found(b"<devices><a max='1'/></devices><features><a max='2'><max>3</max></a></features>") == [("a", "max", 1)]


def test_the_cpus_numbers_are_its_address_width_and_what_is_unknown_in_its_modes() -> None:
    host = b"<mode name='host-model' supported='yes'><model>486</model><maxphysaddr limit='48'/><signature family='6'/></mode>"
    other = b"<mode name='new' supported='yes'><width>7</width></mode>"
    assert found(b"<cpu>" + host + other + b"</cpu>") == [
        ("cpu", "maxphysaddr", 48),
        ("cpu", "host-model/signature/family", 6),
        ("cpu", "new/width", 7),
    ]


@given(documents())
@settings(max_examples=50)
def test_no_two_numbers_of_a_document_have_the_same_name(document: Document) -> None:
    names = [(element, parameter) for element, parameter, _ in numbers(document)]
    assert len(names) == len(set(names))
    assert all(parameter for _, parameter in names)
