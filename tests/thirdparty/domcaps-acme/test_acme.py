from domcaps_acme import ACMEVM, domcaps_drivers

from domcaps_exporter.testing import conform, host_of


def test_acme_keeps_its_promises() -> None:
    (driver,) = domcaps_drivers()
    assert conform(driver, host_of({ACMEVM: b"/usr/bin/acmevm"})) == []
