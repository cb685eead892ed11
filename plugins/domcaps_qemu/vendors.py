"""Which CPU models libvirt knows, and who makes the CPUs they describe: all that a host without libvirt's CPU map can tell.

Names and makers only, as three libvirts list them: 9.0, what 11.3 has besides, and what 12.8 has besides. No host model can be made
of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from domcaps_exporter.rules import Version

_Makers = Mapping[str | None, str]

_X86: tuple[tuple[Version, _Makers], ...] = (
    (
        (0, 0),
        {
            None: """
                486 pentium pentium2 pentium3 pentiumpro qemu32 kvm32 cpu64-rhel5 cpu64-rhel6 qemu64 kvm64
            """,
            "Intel": """
                coreduo n270 core2duo Conroe Penryn Nehalem Nehalem-IBRS Westmere Westmere-IBRS SandyBridge SandyBridge-IBRS
                IvyBridge IvyBridge-IBRS Haswell-noTSX Haswell-noTSX-IBRS Haswell Haswell-IBRS Broadwell-noTSX
                Broadwell-noTSX-IBRS Broadwell Broadwell-IBRS Skylake-Client Skylake-Client-IBRS Skylake-Client-noTSX-IBRS
                Skylake-Server Skylake-Server-IBRS Skylake-Server-noTSX-IBRS Cascadelake-Server Cascadelake-Server-noTSX
                Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX Cooperlake Snowridge
            """,
            "AMD": """
                athlon phenom Opteron_G1 Opteron_G2 Opteron_G3 Opteron_G4 Opteron_G5 EPYC EPYC-IBPB EPYC-Rome EPYC-Milan
            """,
            "Hygon": """
                Dhyana
            """,
        },
    ),
    (
        (11, 3),
        {
            None: """
                486-v1 pentium-v1 pentium2-v1 pentium3-v1 qemu32-v1 kvm32-v1 qemu64-v1 kvm64-v1
            """,
            "Intel": """
                coreduo-v1 n270-v1 core2duo-v1 Conroe-v1 Penryn-v1 Nehalem-v1 Nehalem-v2 Westmere-v1 Westmere-v2
                SandyBridge-v1 SandyBridge-v2 IvyBridge-v1 IvyBridge-v2 Haswell-v1 Haswell-v2 Haswell-v3 Haswell-v4
                Broadwell-v1 Broadwell-v2 Broadwell-v3 Broadwell-v4 Skylake-Client-v1 Skylake-Client-v2 Skylake-Client-v3
                Skylake-Client-v4 Skylake-Server-v1 Skylake-Server-v2 Skylake-Server-v3 Skylake-Server-v4 Skylake-Server-v5
                Cascadelake-Server-v1 Cascadelake-Server-v2 Cascadelake-Server-v3 Cascadelake-Server-v4 Cascadelake-Server-v5
                Icelake-Server-v1 Icelake-Server-v2 Icelake-Server-v3 Icelake-Server-v4 Icelake-Server-v5 Icelake-Server-v6
                Icelake-Server-v7 Cooperlake-v1 Cooperlake-v2 Snowridge-v1 Snowridge-v2 Snowridge-v3 Snowridge-v4
                SapphireRapids SapphireRapids-v1 SapphireRapids-v2 SapphireRapids-v3 GraniteRapids GraniteRapids-v1
                GraniteRapids-v2 SierraForest SierraForest-v1 Denverton Denverton-v1 Denverton-v2 Denverton-v3 KnightsMill
                KnightsMill-v1
            """,
            "AMD": """
                athlon-v1 phenom-v1 Opteron_G1-v1 Opteron_G2-v1 Opteron_G3-v1 Opteron_G4-v1 Opteron_G5-v1 EPYC-v1 EPYC-v2
                EPYC-v3 EPYC-v4 EPYC-Rome-v1 EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Milan-v1 EPYC-Milan-v2 EPYC-Genoa
                EPYC-Genoa-v1
            """,
            "Hygon": """
                Dhyana-v1 Dhyana-v2
            """,
        },
    ),
    (
        (12, 8),
        {
            "Intel": """
                SapphireRapids-v4 SapphireRapids-v5 SapphireRapids-v6 GraniteRapids-v3 GraniteRapids-v4 GraniteRapids-v5
                SierraForest-v3 SierraForest-v2 SierraForest-v4 SierraForest-v5 ClearwaterForest ClearwaterForest-v1
                ClearwaterForest-v2 ClearwaterForest-v3 DiamondRapids DiamondRapids-v1
            """,
            "AMD": """
                EPYC-v5 EPYC-Rome-v5 EPYC-Milan-v3 EPYC-Genoa-v2 EPYC-Turin EPYC-Turin-v1
            """,
            "Zhaoxin CentaurHauls": """
                YongFeng YongFeng-v1 YongFeng-v2 YongFeng-v3
            """,
        },
    ),
)

_PPC64: tuple[tuple[Version, _Makers], ...] = (
    (
        (0, 0),
        {
            "IBM": """
                POWER6 POWER7 POWER8 POWER9 POWER10
            """,
            "Freescale": """
                POWERPC_e5500 POWERPC_e6500
            """,
        },
    ),
    (
        (12, 8),
        {
            "IBM": """
                POWER11
            """,
        },
    ),
)

_FAMILIES = {"x86": _X86, "ppc64": _PPC64}


def makers(family: str, profile: Version) -> dict[str, str | None]:
    """The models of a family (`x86`, `ppc64`) that the libvirt of that version knows, each with its vendor."""
    return {
        name: vendor
        for since, listed in _FAMILIES[family]
        if since <= profile
        for vendor, names in listed.items()
        for name in names.split()
    }
