"""ACME's hypervisor: what its guests can have, and what this host lacks for the rest."""

from domcaps_exporter import Document, Driver, Facts, Host, HypervisorAbsent, Identity, Report, Verdict, hookimpl, question
from domcaps_exporter.rules import Need, container, element, enum, evaluate, value
from domcaps_exporter.view import View, gather

ACMEVM = question("which", "acmevm")
dev_acme: Need[View] = Need("dev-acme", lambda view: view.there(question("exists", "/dev/acme")))
TABLE = [container("devices", element("disk", enum("bus", "virtio", value("acme", dev_acme))))]


def reports(view: View) -> list[Report]:
    path = view.text(ACMEVM)
    if not path:
        return []
    said = evaluate(TABLE, view, (1, 0))
    document = Document("acme", "x86_64", path, vcpus_max=64, children=said.elements)
    return [Report(Identity(path, "x86_64", "", "acme"), Verdict("guest", "", "", True), document, said.verdicts)]


def probe(host: Host) -> Facts:
    if not isinstance(host.ask(ACMEVM), bytes):
        raise HypervisorAbsent("no acmevm in PATH")
    return gather(reports, lambda missed: {one: host.ask(one) for one in missed})


@hookimpl
def domcaps_drivers() -> list[Driver]:
    return [Driver("acme", probe, lambda facts: reports(View(facts)))]
