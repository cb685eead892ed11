from __future__ import annotations

import pytest

from domcaps_exporter.selector import SelectorError, selector

LABELS = ("driver", "arch")


def test_everything_has_the_labels_of_an_empty_selector() -> None:
    assert selector("", LABELS).chooses({})


def test_all_labels_must_fit() -> None:
    one = selector("driver=qemu,arch=x86_64", LABELS)
    assert one.chooses({"driver": "qemu", "arch": "x86_64", "machine": "q35"})
    assert not one.chooses({"driver": "qemu", "arch": "i686"})
    assert not one.chooses({"driver": "qemu"})


def test_a_value_may_be_empty_or_have_an_equals_sign() -> None:
    assert selector("driver=,arch=a=b", LABELS).chooses({"driver": "", "arch": "a=b"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("qemu", "found 'qemu'; expected LABEL=VALUE with one of driver, arch"),
        ("machine=q35", "found 'machine=q35'; expected LABEL=VALUE"),
        ("arch=a,arch=b", "found arch twice"),
    ],
)
def test_a_selector_that_means_nothing_says_what_was_expected(text: str, complaint: str) -> None:
    with pytest.raises(SelectorError, match=complaint):
        selector(text, LABELS)
