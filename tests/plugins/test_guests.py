"""Which guests are reported on, and whether they can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from domcaps_exporter import ABSENT, Answer, Question, Refusal, Truth, Verdict, question
from domcaps_exporter.view import View
from domcaps_qemu.emulators import Emulator, native
from domcaps_qemu.guests import OWN, Account, about_user, guest_user, guests
from domcaps_qemu.machines import Machine
from domcaps_qemu.settings import Wanted
from domcaps_qemu.world import ACCELERATED, EMULATED

PC = Machine("pc-i440fx-9.1", "pc", 255, deprecated=False, default=True)
Q35 = Machine("pc-q35-9.1", "q35", 4096, deprecated=False, default=False)
OLD = Machine("pc-q35-9.0", None, 288, deprecated=True, default=False)
QEMU = Emulator(
    path="/usr/bin/qemu-system-x86_64",
    target="x86_64",
    native=True,
    compiled=True,
    enabled=True,
    tells_accelerators=False,
    tcg=True,
    version="9.1.0",
    machines=(PC, Q35, OLD),
)
FOREIGN = replace(QEMU, path="/usr/bin/qemu-system-s390x", native=False, compiled=False, enabled=False)

CONF = question("read", "/etc/libvirt/qemu.conf")
DEVICE = question("exists", "/dev/kvm")


OS, VENDORS_OS = question("read", "/etc/os-release"), question("read", "/usr/lib/os-release")
DEBIAN = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'


def access(user: str = "", *group: str) -> Question:
    return question("access", "/dev/kvm", "rw", user, *group)


HOST: Mapping[Question, Answer] = {CONF: ABSENT, DEVICE: b"device", access(): b"yes"}


def kinds(emulator: Emulator = QEMU, wanted: Wanted | None = None, host: Mapping[Question, Answer] = HOST) -> dict[str, Verdict]:
    """Stable machine, virttype and scope of each guest, and the verdict on it."""
    found = guests(View(host), emulator, wanted or Wanted(), "x86_64", (11, 3))
    return {f"{guest.stable} {guest.virttype} {guest.scope}": verdict for guest, _, verdict in found}


def unmet(verdict: Verdict) -> list[tuple[str, str]]:
    return [(one.prerequisite, one.libvirt) for one in verdict.unmet]


# ---- which -------------------------------------------------------------------------------------------------------------------


def test_a_host_with_kvm_is_reported_on_once() -> None:
    assert list(kinds()) == [f"q35 kvm {ACCELERATED}"]


def test_where_kvm_does_not_work_emulation_is_reported_beside_it() -> None:
    found = kinds(replace(QEMU, enabled=False))
    assert list(found) == [f"q35 kvm {ACCELERATED}", f"q35 qemu {ACCELERATED}"]
    assert [one.supported for one in found.values()] == [False, True]


def test_emulation_beside_a_working_kvm_is_asked_of_a_process_without_it() -> None:
    assert list(kinds(wanted=Wanted(virttypes=("qemu",)))) == [f"q35 qemu {EMULATED}"]


def test_a_foreign_architecture_is_emulated_only() -> None:
    assert list(kinds(FOREIGN, Wanted(virttypes=("kvm", "qemu")))) == [f"q35 qemu {ACCELERATED}"]


def test_an_emulator_that_was_built_without_kvm_is_a_no_so_that_one_that_had_it_is_missed() -> None:
    found = kinds(replace(QEMU, compiled=False, enabled=False))
    assert list(found) == [f"q35 kvm {ACCELERATED}", f"q35 qemu {ACCELERATED}"]
    assert [one.supported for one in found.values()] == [False, True]
    assert unmet(found[f"q35 kvm {ACCELERATED}"]) == [("qemu-kvm-build", "refuses")]


def test_that_it_was_built_without_kvm_is_known_also_to_an_exporter_without_access() -> None:
    verdict = kinds(replace(QEMU, compiled=False, enabled=False), host={**HOST, access(): b"no"})[f"q35 kvm {ACCELERATED}"]
    assert verdict.supported is False
    assert ("qemu-kvm-build", "refuses") in unmet(verdict)


def test_machines_are_those_that_were_asked_for_each_once() -> None:
    asked = Wanted(machines={"": ("pc", "q35", "pc-q35-9.1", "pc-q35-9.0")})
    assert [one.split()[0] for one in kinds(wanted=asked)] == ["pc", "q35", "pc-q35-9.0"]


def test_all_machines_are_all_that_the_emulator_has() -> None:
    assert [one.split()[0] for one in kinds(wanted=Wanted(machines={"x86_64": ("all",)}))] == ["pc", "q35", "pc-q35-9.0"]


def test_machines_that_are_asked_for_without_an_architecture_are_the_hosts_own() -> None:
    assert [one.split()[0] for one in kinds(FOREIGN, Wanted(machines={"": ("pc",)}))] == ["q35"]


def test_a_machine_that_was_asked_for_and_is_gone_is_a_no() -> None:
    [verdict] = kinds(wanted=Wanted(machines={"": ("pc-q35-1.0",)})).values()
    assert verdict.supported is False
    assert unmet(verdict) == [("qemu-machine:pc-q35-1.0", "refuses")]


# ---- whether -----------------------------------------------------------------------------------------------------------------


def test_a_device_that_is_not_there_is_the_one_thing_that_lacks() -> None:
    found = kinds(replace(QEMU, enabled=False), host={**HOST, DEVICE: ABSENT, access(): ABSENT})
    verdict = found[f"q35 kvm {ACCELERATED}"]
    assert verdict.supported is False
    assert unmet(verdict) == [("dev-kvm", "refuses")]


def test_a_user_without_access_cannot_run_a_guest_though_libvirt_would_try() -> None:
    host = {**HOST, access("libvirt-qemu"): b"no"}
    verdict = kinds(wanted=Wanted(guest_user="libvirt-qemu"), host=host)[f"q35 kvm {ACCELERATED}"]
    assert verdict.supported is False
    assert unmet(verdict) == [("kvm-access", "accepts")]


def test_an_exporter_without_access_knows_nothing_of_kvm_that_a_qemu_says() -> None:
    host = {**HOST, access(): b"no", access("libvirt-qemu"): b"yes"}
    found = kinds(replace(QEMU, enabled=False), Wanted(guest_user="libvirt-qemu"), host)
    assert found[f"q35 kvm {ACCELERATED}"].supported is None


def test_an_exporter_whose_container_forbids_kvm_knows_nothing_of_it_though_the_files_mode_allows() -> None:
    host = {**HOST, question("kvm", "66"): Refusal("denied")}
    assert kinds(replace(QEMU, enabled=False), host=host)[f"q35 kvm {ACCELERATED}"].supported is None


def test_an_emulator_that_has_no_emulation_cannot_emulate() -> None:
    [verdict] = kinds(replace(QEMU, tcg=False), Wanted(virttypes=("qemu",))).values()
    assert (verdict.supported, unmet(verdict)) == (False, [("qemu-tcg", "refuses")])


@pytest.mark.parametrize("refusal", [Refusal("denied"), Refusal("error")])
def test_a_host_that_does_not_say_leaves_it_unknown(refusal: Refusal) -> None:
    silent: Mapping[Question, Answer] = {CONF: ABSENT, DEVICE: refusal, access(): refusal}
    found = kinds(replace(QEMU, enabled=None, compiled=None), host=silent)
    assert {verdict.supported for verdict in found.values()} == {None, True}


def test_an_emulator_that_has_said_nothing_is_unknown() -> None:
    silent = replace(QEMU, compiled=None, enabled=None, tcg=None, machines=None)
    assert {verdict.supported for verdict in kinds(silent, Wanted(virttypes=("kvm", "qemu"))).values()} == {None}


# ---- for whom ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conf", "account"),
    [
        (b'user = "qemu"\n', Account("qemu")),
        (b'user = "root"\n', Account("root")),
        (b'user = "+107"\n', Account("107")),
        (b"user = 'qemu'\n", Account("qemu")),
        (b'user = "one"\n  user="two"\n', Account("two")),
        (b'group = "kvm"\nuser = "qemu"\n#group = "none"\n', Account("qemu", "kvm")),
        (ABSENT, OWN),
    ],
)
def test_who_runs_guests_is_read_from_qemu_conf(conf: Answer, account: Account) -> None:
    assert guest_user(View({CONF: conf, access("libvirt-qemu"): b"no"}), Wanted()) == account


NAMES_NOBODY = b'#user = "root"\nremote_user = "x"\n'


@pytest.mark.parametrize(
    ("users", "user"),
    [
        ({"libvirt-qemu": b"no"}, "libvirt-qemu"),
        ({"libvirt-qemu": b"no", "qemu": b"yes"}, "libvirt-qemu"),
        ({"libvirt-qemu": Refusal("error"), "qemu": b"yes"}, "qemu"),
        ({"libvirt-qemu": Refusal("error"), "qemu": Refusal("error")}, None),
        ({"libvirt-qemu": Refusal("denied"), "qemu": b"yes"}, "libvirt-qemu"),
        ({}, "libvirt-qemu"),
    ],
)
@pytest.mark.parametrize("conf", [Refusal("denied"), NAMES_NOBODY, b'user = ""\n', b""])
def test_where_qemu_conf_names_nobody_or_may_not_be_read_it_is_the_user_that_distributions_make(
    users: Mapping[str, Answer], user: str | None, conf: Answer
) -> None:
    host = {CONF: conf, **{access(name): answer for name, answer in users.items()}}
    assert guest_user(View(host), Wanted()) == (None if user is None else Account(user))


def test_the_group_that_qemu_conf_names_lets_its_usual_user_in() -> None:
    in_group = question("access", "/dev/kvm", "rw", "libvirt-qemu", "kvm")
    found = kinds(host={**HOST, CONF: b'group = "kvm"', access("libvirt-qemu"): b"no", in_group: b"yes"})
    assert found[f"q35 kvm {ACCELERATED}"].supported is True


@pytest.mark.parametrize(
    ("own", "usual", "expected"),
    [
        (b"yes", b"yes", True),
        (b"yes", b"no", False),  # the guests' user lost its access: an outage, though the exporter is in the group kvm
        (b"yes", Refusal("denied"), None),  # nobody knows of the guests' user
        (b"no", b"yes", None),  # nobody told whether KVM works
        (b"yes", Refusal("error"), True),  # nobody knows the user, and the exporter is the best witness
        (b"no", Refusal("error"), None),  # that the exporter may not tells nothing of a user whom nobody knows
    ],
)
@pytest.mark.parametrize("conf", [Refusal("denied"), NAMES_NOBODY])
def test_what_a_host_tells_where_qemu_conf_names_nobody(own: Answer, usual: Answer, expected: Truth, conf: Answer) -> None:
    users: Mapping[Question, Answer] = {access(): own, access("libvirt-qemu"): usual, access("qemu"): Refusal("error")}
    grouped = {OS: DEBIAN, access("libvirt-qemu", "libvirt-qemu"): usual}
    found = kinds(replace(QEMU, enabled=own == b"yes"), host={CONF: conf, DEVICE: b"device", **users, **grouped})
    assert found[f"q35 kvm {ACCELERATED}"].supported is expected


NO_GROUP = Refusal("error", "there is no group")


@pytest.mark.parametrize(
    ("release", "letting", "expected"),
    [
        (DEBIAN, "libvirt-qemu", True),
        (DEBIAN, "kvm", False),
        (b"ID=ubuntu\nID_LIKE=debian\n", "kvm", True),
        (b'ID=linuxmint\nID_LIKE="ubuntu debian"\n', "kvm", True),
        (b"ID='kali'\nID_LIKE='debian'\n", "kvm", False),
        (b'ID="rocky"\nID_LIKE="rhel centos fedora"\n', "qemu", True),
        (b'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "qemu", True),
        (b"ID=fedora\n", "kvm", False),
        (b"ID=nixos\n", "kvm", None),
        (b"no such file\n", "qemu", None),
        (ABSENT, "kvm", None),
        (Refusal("denied"), "kvm", None),
        (b"ID=nixos\n", "", False),
    ],
)
def test_a_user_without_a_group_is_put_in_the_one_that_libvirt_was_built_with(
    release: Answer, letting: str, expected: Truth
) -> None:
    groups: dict[Question, Answer] = dict.fromkeys((access("me", one) for one in ("root", "kvm", "libvirt-qemu", "qemu")), b"no")
    groups |= {access("me", letting): b"yes"} if letting else {}
    host = {**HOST, CONF: b'user = "me"', OS: release, access("me"): b"no", **groups}
    assert kinds(host=host)[f"q35 kvm {ACCELERATED}"].supported is expected
    notes = about_user(View(host), Wanted())
    assert [f"me may in the group {letting}, and /etc/libvirt/qemu.conf names none" in note for note in notes] == (
        {None: [True], False: [False], True: []}[expected]
    )


def test_the_vendors_os_release_counts_where_there_is_no_other_and_an_unreadable_qemu_conf_names_no_group() -> None:
    account = {access("libvirt-qemu"): b"no", access("libvirt-qemu", "libvirt-qemu"): b"yes", access("libvirt-qemu", "kvm"): b"no"}
    host = {**HOST, CONF: Refusal("denied"), OS: ABSENT, **account}
    assert kinds(host={**host, VENDORS_OS: DEBIAN})[f"q35 kvm {ACCELERATED}"].supported is True
    assert kinds(host={**host, VENDORS_OS: b"ID=ubuntu"})[f"q35 kvm {ACCELERATED}"].supported is False
    unknown = {**host, VENDORS_OS: ABSENT, **{access("libvirt-qemu", one): NO_GROUP for one in ("root", "qemu")}}
    assert kinds(host=unknown)[f"q35 kvm {ACCELERATED}"].supported is None
    (note,) = about_user(View(unknown), Wanted())
    assert note.endswith("in the group libvirt-qemu, and /etc/libvirt/qemu.conf may not be read")


def test_groups_that_a_host_has_not_decide_nothing_and_a_user_who_needs_none_is_asked_of_none() -> None:
    conf: Mapping[Question, Answer] = {CONF: b'user = "me"', OS: b"ID=nixos"}
    lacking = dict.fromkeys((access("me", one) for one in ("root", "libvirt-qemu", "qemu")), NO_GROUP)
    host = {**HOST, **conf, access("me"): b"no", **lacking, access("me", "kvm"): b"yes"}
    assert kinds(host=host)[f"q35 kvm {ACCELERATED}"].supported is True
    view = View({**HOST, **conf, access("me"): b"yes"})
    list(guests(view, QEMU, Wanted(), "x86_64", (11, 3)))
    assert not [one for one in view.missed if one.kind == "access"]


def test_a_user_of_the_setting_is_in_its_own_groups_only() -> None:
    host = {**HOST, OS: DEBIAN, access("me"): b"no", access("me", "libvirt-qemu"): b"yes"}
    assert kinds(wanted=Wanted(guest_user="me"), host=host)[f"q35 kvm {ACCELERATED}"].supported is False


@pytest.mark.parametrize(("conf", "why"), [(Refusal("denied"), "may not be read"), (NAMES_NOBODY, "names no user")])
def test_that_nobody_knows_the_user_is_said_where_it_matters(conf: Answer, why: str) -> None:
    nobody = {CONF: conf, access("libvirt-qemu"): Refusal("error"), access("qemu"): Refusal("error")}
    assert about_user(View({**nobody, access(): b"yes"}), Wanted()) == ()
    [note] = about_user(View({**nobody, access(): b"no"}), Wanted())
    assert f"/etc/libvirt/qemu.conf {why}" in note


def test_where_there_is_no_libvirt_guests_are_the_exporters_own() -> None:
    host = {**HOST, access("libvirt-qemu"): b"no", access("qemu"): b"no"}
    assert kinds(host=host)[f"q35 kvm {ACCELERATED}"].supported is True


def test_a_user_who_is_not_there_is_said_with_the_setting_that_names_them() -> None:
    view = View({access("me"): Refusal("error", "there is no user 'me'")})
    assert about_user(view, Wanted(guest_user="me")) == (
        "guest_user: there is no user 'me'; whether guests may use KVM is unknown",
    )


@pytest.mark.parametrize(
    ("wanted", "facts", "words"),
    [
        (Wanted(guest_user="me"), {access("me"): b"no"}, "by me, as guest_user says, and /dev/kvm"),
        (Wanted(), {CONF: b'user = "me"', OS: DEBIAN, access("me"): b"no", access("me", "libvirt-qemu"): b"no"}, "by me, as /etc/"),
        (
            Wanted(),
            {CONF: NAMES_NOBODY, OS: DEBIAN, access("libvirt-qemu"): b"no", access("libvirt-qemu", "libvirt-qemu"): b"no"},
            "by libvirt-qemu, as libvirt is built, and",
        ),
        (Wanted(), {CONF: ABSENT, access(): b"no"}, "by the exporter's own user, for there is no /etc/libvirt/qemu.conf, and"),
    ],
)
def test_who_it_is_that_may_not_open_kvm_is_said(wanted: Wanted, facts: Mapping[Question, Answer], words: str) -> None:
    (note,) = about_user(View(facts), wanted)
    assert words in note
    assert about_user(View({one: b"yes" if one.kind == "access" else told for one, told in facts.items()}), wanted) == ()


def test_the_setting_wins_over_qemu_conf() -> None:
    assert guest_user(View({CONF: b'user = "qemu"'}), Wanted(guest_user="me")) == Account("me")


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("x86_64", "x86_64", True),
        ("x86_64", "i686", True),
        ("i686", "x86_64", False),
        ("aarch64", "armv7l", True),
        ("armv7l", "aarch64", False),
        ("ppc64le", "ppc64", True),
        ("x86_64", "aarch64", False),
        (None, "x86_64", False),
    ],
)
def test_kvm_runs_guests_of_its_own_kind(host: str | None, target: str, expected: Truth) -> None:
    assert native(host, target) is expected
