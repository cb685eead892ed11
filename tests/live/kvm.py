"""A machine without KVM: a command that becomes another where there is no /dev/kvm and other devices are as they were. As root."""

from __future__ import annotations

_HIDDEN = """set -eu
mount --make-rprivate /
devices=$(mktemp -d)
mount -t tmpfs tmpfs "$devices"
for device in /dev/*; do
    copy=$devices/${device#/dev/}
    if [ "$device" = /dev/kvm ]; then continue; fi
    if [ -L "$device" ]; then
        cp -P "$device" "$copy"
    elif [ -d "$device" ]; then
        mkdir "$copy"
        mount --rbind "$device" "$copy"
    elif [ -e "$device" ]; then
        : >"$copy"
        mount --bind "$device" "$copy"
    fi
done
mount --move "$devices" /dev
rmdir "$devices"
exec "$@"
"""

WITHOUT_KVM = ("unshare", "--mount", "sh", "-c", _HIDDEN, "sh")
"""To stand before a command."""
