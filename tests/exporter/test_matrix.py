from __future__ import annotations

from domcaps_exporter.matrix import Lack, Matrix, Row, matrix
from domcaps_exporter.model import Document, Element, Enum, Identity, Report, Unmet, Verdict

IOMMU, S390 = Unmet("iommu-groups", "refuses"), Unmet("arch:s390", "refuses")
DOCUMENT = Document(
    "kvm",
    "x86_64",
    children=(
        Element(
            "devices", children=(Element("video", (("supported", "yes"),), children=(Enum("modelType", ("vga",)), Enum("x", ()))),)
        ),
        Element(
            "features",
            children=(
                Element("genid", (("supported", "yes"),)),
                Element("sev", (("supported", "no"),)),
                Element("sgx", (("supported", "yes"),), children=(Element("section_size", (("unit", "KiB"),), "1"),)),
            ),
        ),
    ),
)


def of(*verdicts: Verdict, document: Document | None = DOCUMENT) -> Matrix:
    return matrix(Report(Identity("/bin/q", "x86_64", "q35", "kvm"), Verdict("guest", "", "", True), document, verdicts))


def test_what_a_document_lists_is_there_and_numbers_stand_beside_it() -> None:
    assert of().rows == (
        Row("video", "modelType", ("vga",)),
        Row("sgx", "", ("section_size 1024",)),
        Row("", "", ("genid",), (Lack(("sev",), ()),)),
    )


def test_values_that_lack_the_same_stand_together() -> None:
    lacking = [Verdict("hostdev", "pciBackend", value, False, (IOMMU,)) for value in ("default", "vfio")]
    (row, *_) = of(*lacking, Verdict("hostdev", "pciBackend", "xen", None), document=None).rows
    assert row == Row("hostdev", "pciBackend", (), (Lack(("default", "vfio"), (IOMMU,)),), ("xen",))
    assert row.missing == 2


def test_an_element_that_is_refused_as_a_whole_is_told_once() -> None:
    refused = of(
        Verdict("gic", "", "", False, (IOMMU,)),
        Verdict("gic", "version", "3", False, (IOMMU, Unmet("gic-v3", "refuses"))),
        document=None,
    )
    assert refused.rows == (Row("", "", (), (Lack(("gic",), (IOMMU,)),)),)


def test_what_other_architectures_have_is_set_apart() -> None:
    found = of(Verdict("panic", "model", "s390", False, (S390,)), Verdict("panic", "model", "isa", True), document=None)
    assert found == Matrix((Row("panic", "model", ("isa",)),), (Row("panic", "model", lack=(Lack(("s390",), (S390,)),)),))


def test_reasons_that_are_given_at_two_places_are_joined() -> None:
    twice = of(
        Verdict("a", "b", "c", False, (IOMMU,)),
        Verdict("a", "b", "c", False, (IOMMU, Unmet("dev-vfio", "accepts"))),
        document=None,
    )
    assert twice.rows[0].lack == (Lack(("c",), (IOMMU, Unmet("dev-vfio", "accepts"))),)
