"""What the host's processor says of itself: a paragraph of /proc/cpuinfo, and on x86 the CPUID instruction and registers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import struct
from pathlib import Path

from domcaps_exporter.files import head
from domcaps_exporter.model import ABSENT, Answer, Refusal

_HEAD = 8192
_MOVING = (b"cpu MHz", b"clock")
"""Lines of /proc/cpuinfo that change by the second: x86 and s390, and POWER."""

_X86 = ("x86_64", "amd64", "i386", "i686")
_KVM_GET_MSRS = 0xC008AE88
"""_IOWR(0xAE, 0x88, struct kvm_msrs), whose head has 8 bytes."""

# rbx belongs to the caller. f(edi: leaf, esi: subleaf, rdx: four words to fill), System V's convention.
_CPUID = bytes.fromhex(
    "53"  # push rbx
    "4989d0"  # mov r8, rdx
    "89f8"  # mov eax, edi
    "89f1"  # mov ecx, esi
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8+4], ebx
    "41894808"  # mov [r8+8], ecx
    "4189500c"  # mov [r8+12], edx
    "5b"  # pop rbx
    "c3"  # ret
)


def first_processor(cpuinfo: str) -> bytes:
    """The first paragraph of the file `cpuinfo` (at most 8 KiB of it: a big host's file has megabytes and takes long to make)."""
    paragraph = head(cpuinfo, _HEAD).partition(b"\n\n")[0]
    return b"".join(line for line in paragraph.splitlines(keepends=True) if not line.startswith(_MOVING))


def cpuid(leaf: str, subleaf: str) -> Answer:
    """EAX EBX ECX EDX in eight lower-case hex digits each, from whichever processor this runs on.

    Raises:
        OSError: memory cannot be made executable here (systemd's MemoryDenyWriteExecute, SELinux's execmem).
        ValueError: an argument is not 32 bits in hex.
    """
    if platform.machine() not in _X86:
        return ABSENT
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return Refusal("error", "a 32-bit exporter does not ask")
    leaf_number, subleaf_number = int(leaf, 16), int(subleaf, 16)
    if not (0 <= leaf_number < 1 << 32 and 0 <= subleaf_number < 1 << 32):
        raise ValueError("leaf and subleaf have 32 bits")
    return " ".join(f"{register:08x}" for register in _executed(leaf_number, subleaf_number)).encode()


def _executed(leaf: int, subleaf: int) -> tuple[int, ...]:
    """Run the instruction from a page that is writable first and executable afterwards, never both."""
    registers = (ctypes.c_uint32 * 4)()
    with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE) as page:
        page.write(_CPUID)
        start = ctypes.c_char.from_buffer(page)
        try:
            address = ctypes.addressof(start)
            _make_executable(address)
            ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(address)(leaf, subleaf, registers)
        finally:
            del start  # else the page stays exported and cannot be unmapped
    return tuple(registers)


def _make_executable(address: int) -> None:
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if mprotect(address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def msr(index: str) -> Answer:
    """A model-specific register, 64 bits in lower-case hex: from /dev/cpu/0/msr, or where that is not to be had, as KVM has it.

    That is where libvirt looks. It runs as root: what is kept from this user by a file's mode is denied, not looked for elsewhere.

    Raises:
        OSError: neither may be opened.
        ValueError: the index is not 32 bits in hex.
    """
    if platform.machine() not in _X86:
        return ABSENT
    number = int(index, 16)
    if not 0 <= number < 1 << 32:
        raise ValueError("an index has 32 bits")
    try:
        with Path("/dev/cpu/0/msr").open("rb", buffering=0) as device:
            return _hex(os.pread(device.fileno(), 8, number))
    except OSError as error:
        if error.errno == errno.EIO:
            return ABSENT  # the processor has no such register
        if error.errno == errno.EACCES:
            raise
    return _msr_of_kvm(number)


def _msr_of_kvm(number: int) -> Answer:
    """What KVM says of a register that tells features. One that it does not know is 0, or an error where it is old."""
    asked = bytearray(struct.pack("<IIIIQ", 1, 0, number, 0, 0))
    with Path("/dev/kvm").open("rb", buffering=0) as device:
        try:
            fcntl.ioctl(device, _KVM_GET_MSRS, asked)
        except OSError:
            return ABSENT
    return _hex(bytes(asked[16:]))


def _hex(word: bytes) -> bytes:
    return f"{int.from_bytes(word, 'little'):016x}".encode()
