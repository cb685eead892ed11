"""The comparison inside a Debian suite that lies unpacked in a folder (`.setup/suite`), with KVM and without, and with a QEMU that
was built without. A program, for root.

It looks only into what it starts: the checkout is lent read-only, /tmp is new, and every mount ends with it, however it ends.
Usage: python -m tests.live.suites ROOT; exit 1 unless all documents are identical.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.live.kvm import WITHOUT_KVM

CHECKOUT = Path(__file__).parents[2]
# The root is mounted on itself: only where / is a mount of its own may mounts be made there that nobody else sees.
_INSIDE = """set -eu
root=$1 checkout=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount --bind "$checkout" "$root/mnt"
mount -o remount,bind,ro "$root/mnt"
mount -t tmpfs tmpfs "$root/tmp"
exec chroot "$root" env --chdir=/mnt -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    PYTHONPATH=exporter:plugins PYTHONDONTWRITEBYTECODE=1 "$@"
"""


def main(argv: Sequence[str]) -> int:
    """All runs, whatever the first one says."""
    (root,) = argv
    worst = 0
    if Path("/dev/kvm").exists():
        worst = _compared(root, (), "with KVM")
    else:
        print("There is no /dev/kvm here: nothing is said of KVM")
    worst = _compared(root, WITHOUT_KVM, "without KVM") or worst
    return _compared(root, (), "built without KVM", "tests.live.kvmless") or worst


def _compared(root: str, within: Sequence[str], title: str, program: str = "tests.live.compare") -> int:
    inside = ["unshare", "--mount", "sh", "-c", _INSIDE, "sh", str(Path(root).resolve()), str(CHECKOUT)]
    compare = ["python3", "-m", program, "--title", title]
    return subprocess.run([*inside, *within, *compare], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
