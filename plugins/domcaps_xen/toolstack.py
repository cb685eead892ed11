"""Where distributions put Xen's toolstack, its firmware and the device model, and which of these files are there. Pure.

libxl has the paths compiled in, so each distribution has its own. The layouts are those of the packages' build files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from domcaps_exporter import Truth, question
from domcaps_exporter.view import View, any_known
from domcaps_xen.settings import Wanted


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to install Xen: `root` holds boot/ and bin/; `{version}` is the running hypervisor's, `{root}` the root.

    `certain`: the paths are all that libxl there looks at. Else a file may be in another place, or built into hvmloader.
    """

    root: str
    device_models: tuple[str, ...] = ()
    ovmf: tuple[str, ...] = ()
    seabios: tuple[str, ...] = ()
    hvmloader: tuple[str, ...] = ("{root}/boot/hvmloader",)
    certain: bool = False


_OWN = ("{root}/bin/qemu-system-i386",)
_SEABIOS = "/usr/share/seabios/bios-256k.bin"
_NOWHERE = Layout("", hvmloader=())


def _upstream(root: str) -> Layout:
    """What Xen's own `make install` makes."""
    return Layout(root, _OWN, ("{root}/boot/ovmf.bin",), ("{root}/boot/seabios.bin",))


LAYOUTS = (
    Layout(  # Debian and Ubuntu
        "/usr/lib/xen-{version}",
        ("/usr/libexec/xen-qemu-system-i386", *_OWN, "/usr/bin/qemu-system-i386"),
        ("/usr/share/ovmf/OVMF.fd",),
        (_SEABIOS,),
        certain=True,
    ),
    Layout(  # Fedora, which links /usr/lib64/xen to it; XCP-ng, whose hvmloader has its BIOS built in
        "/usr/libexec/xen",
        (*_OWN, "/usr/lib64/xen/bin/qemu-system-i386", "/usr/bin/qemu-system-i386"),
        ("/usr/share/edk2/xen/OVMF.fd", "/usr/share/edk2/OVMF.fd", "{root}/boot/ovmf.bin"),
        (_SEABIOS,),
    ),
    Layout(  # SUSE
        "/usr/lib/xen",
        (*_OWN, "/usr/bin/qemu-system-i386"),
        ("/usr/share/qemu/ovmf-x86_64-xen-4m.bin", "/usr/share/qemu/ovmf-x86_64-xen.bin", "{root}/boot/ovmf.bin"),
        ("/usr/share/qemu/bios-256k.bin", _SEABIOS),
    ),
    _upstream("/usr/local/lib/xen"),
    _upstream("/usr/local/libexec/xen"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its path, empty where none was found, and whether there is one."""

    path: str
    there: Truth


@dataclass(frozen=True, slots=True)
class Toolstack:
    """Xen's user-space part: is it there at all, and its files."""

    there: Truth
    hvmloader: Found
    device_model: Found
    ovmf: Found
    seabios: Found


def toolstack(view: View, wanted: Wanted, release: tuple[int, int] | None) -> Toolstack:
    """The files of the first layout whose root is there; one that is configured goes first."""
    layouts = ((_upstream(wanted.toolstack),) if wanted.toolstack else ()) + LAYOUTS
    roots = [(root, layout) for layout in layouts if (root := _root(layout, release))]
    looked = [(view.there(question("exists", root)), root, layout) for root, layout in roots]
    there = any_known([view.there(question("which", "xl")), *(found for found, _, _ in looked)])
    root, layout = next(((root, layout) for found, root, layout in looked if found is True), ("", _NOWHERE))
    models = (wanted.device_model,) if wanted.device_model else _in(root, layout.device_models)
    return Toolstack(
        there=there,
        hvmloader=_first(view, _in(root, layout.hvmloader), certain=bool(root)),
        device_model=_first(view, models, certain=bool(models)),
        ovmf=_first(view, _in(root, layout.ovmf), certain=layout.certain),
        seabios=_first(view, _in(root, layout.seabios), certain=layout.certain),
    )


def _root(layout: Layout, release: tuple[int, int] | None) -> str:
    """Empty where it depends on a version that nobody knows."""
    if "{version}" not in layout.root:
        return layout.root
    return "" if release is None else layout.root.format(version=f"{release[0]}.{release[1]}")


def _in(root: str, paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path.replace("{root}", root) for path in paths)


def _first(view: View, paths: tuple[str, ...], *, certain: bool) -> Found:
    """The first of these files that is there. Where none is, that is certain only for a complete list."""
    looked = [(path, view.there(question("exists", path))) for path in paths]
    found = next((path for path, there in looked if there is True), "")
    truth = any_known(there for _, there in looked)
    return Found(found, truth if truth is not False or certain else None)
