"""python -m tests.fleet: a fleet to look at, with a Prometheus of your own. What happens to it happens again with the same seed."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from tests.fleet.fleet import WAIT, planned
from tests.fleet.serve import Site, serving


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=19180)
    parser.add_argument("--speed", type=float, default=10, help="how many minutes of the plan pass in one (%(default)s)")
    said = parser.parse_args(argv)
    plan = planned(said.seed, said.hosts)
    site = Site(plan.fleet)
    with serving(site, said.port) as address:
        print(f"http_sd_configs: [{{url: http://{address}/targets, refresh_interval: 10s}}]", flush=True)
        begin = time.monotonic()
        for event in sorted(plan.fleet.events, key=lambda event: event.time):
            time.sleep(max(0.0, begin + event.time / said.speed - time.monotonic()))
            site.happen(event.host, event.change)
            now = ", ".join(f"{alert} {host}" for alert, host in sorted(plan.truth(event.time + WAIT)))
            print(f"{event.time / 60:.0f} min: {event.host}; three minutes later these fire: {now or 'none'}", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
