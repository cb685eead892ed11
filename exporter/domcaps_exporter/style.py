"""How the page looks, and the policy that lets it look so and do nothing else. Data."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --panel: #f6f8fa;
  --yes: #116329; --yes-ground: #e3f5e8; --no: #a40e26; --no-ground: #ffebe9; --link: #0757ba;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1318; --ink: #e6eaef; --soft: #9aa5b1; --line: #2f3741; --panel: #171c23;
    --yes: #7ee2a0; --yes-ground: #12301d; --no: #ffaaa3; --no-ground: #3a1518; --link: #79b4ff;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink) }
header, main, footer { max-width: 78rem; margin: 0 auto; padding: 0 1.25rem }
header { padding-top: 1.5rem }
footer { padding-bottom: 2rem; color: var(--soft) }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25 }
h2 { margin: 2rem 0 .25rem; font-size: 1.2rem }
h3 { margin: 1.5rem 0 0; font-size: 1rem }
a { color: var(--link) }
a:focus-visible, summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 3px }
.skip { position: absolute; left: -99rem }
.skip:focus { position: static }
.soft, caption, .lack small { color: var(--soft) }
code, small, .matrix th, .lost, .changes, .long { overflow-wrap: anywhere }
.long { display: inline-block; min-width: 8rem }
.whole { display: inline-block; max-width: 100% }
code { font: .95em ui-monospace, "DejaVu Sans Mono", monospace }
nav ul, dl, .have, .unknown, .plain { display: flex; flex-wrap: wrap; gap: .3rem .4rem; margin: 0; padding: 0; list-style: none }
nav ul { gap: .3rem 1.25rem; margin-top: .5rem }
dl { gap: .5rem 2rem; margin: .75rem 0 }
dt { color: var(--soft); font-size: .85rem }
dd { margin: 0; overflow-wrap: anywhere }
table { width: 100%; border-collapse: collapse; margin: .5rem 0 1rem }
caption { text-align: left; padding: .25rem 0; font-size: .85rem }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top }
th, td { border-top: 1px solid var(--line); overflow-wrap: break-word }
thead th { border: 0; color: var(--soft); font-weight: 500; font-size: .85rem }
tbody th { font-weight: 600 }
tbody th small { display: block; font-weight: 400; color: var(--soft); font-size: .85rem }
.matrix, .lost, .changes { table-layout: fixed }
.lost th:nth-child(2), .changes th:first-child { width: 15.5rem }
.changes small { display: block; color: var(--soft) }
.matrix th:first-child { width: 17rem }
.matrix th small { display: inline }
.cells { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .4rem 1.5rem }
.cells > :only-child { grid-column: 1 / -1 }
.cells > .lack:first-child { grid-column: 2 }
.have li, .unknown li, b.no, b.yes, b.unsure { padding: 0 .5rem; border-radius: 1rem; white-space: nowrap }
.have li, .unknown li { white-space: normal }
.have li, b.yes { background: var(--yes-ground); color: var(--yes) }
b.no { background: var(--no-ground); color: var(--no) }
.lack b { font-weight: 400 }
.unknown li, b.unsure { border: 1px dashed var(--soft) }
.lack, .reasons { margin: 0; padding: 0; list-style: none }
.lack > li + li { margin-top: .35rem }
.reasons { padding-left: 1.4rem; list-style: disc; color: var(--ink); font-size: .92rem }
i { font-style: normal }
details { margin: .35rem 0; padding: .45rem .75rem; border: 1px solid var(--line); border-radius: .5rem }
details[open] > summary { margin-bottom: .5rem }
summary { cursor: pointer }
summary h2 { display: inline; margin: 0 }
.document { margin: 1rem 0; padding: .75rem 1rem; background: var(--panel) }
.alarm { padding: .6rem .9rem; border-left: .3rem solid var(--no); background: var(--no-ground) }
.alarm p { margin: .4rem 0 0 }
@media (max-width: 44rem) {
  .matrix th:first-child { width: 8.75rem }
  .matrix th small { display: block }
  .lost th:nth-child(2), .changes th:first-child { width: 6rem }
  .cells { grid-template-columns: minmax(0, 1fr) }
  .cells > .lack:first-child { grid-column: 1 }
  th, td { padding: .4rem .35rem }
  header, main, footer { padding-left: .75rem; padding-right: .75rem }
  .document, details { padding: .5rem }
}
@media (max-width: 30rem) {
  table { font-size: .87rem }
  thead th { font-size: .8rem }
  th, td { padding: .35rem .2rem }
  .matrix th:first-child { width: 7rem }
  b.no, b.yes, b.unsure { padding: 0 .3rem }
  .long { min-width: 5rem }
  .lack b.no { display: inline-block; white-space: normal }
}
"""

_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY = f"default-src 'self'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy to send with the page: this server and the page's own style, no more."""
