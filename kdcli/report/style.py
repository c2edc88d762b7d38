"""The look of a report, in light, dark and print."""

CSS = """
:root {
  --ink: #1d2126; --soft: #5b6570; --paper: #ffffff; --card: #f5f7f9; --line: #dfe4e8; --lead: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ec; --soft: #9aa5b1; --paper: #14171a; --card: #1d2227; --line: #343b43; --lead: #6cb8e6;
  }
  img { background: #fff; padding: 0.5rem; filter: brightness(0.9); }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.15rem; font-weight: 600; color: var(--soft); margin: 0 0 0.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 0.75rem; overflow-wrap: anywhere; }
p { margin: 0.5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.lead { font-size: 1.5rem; line-height: 1.35; font-weight: 600; color: var(--lead); margin: 0; }
.wide { overflow-x: auto; margin: 0.5rem 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.95rem; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; text-align: left; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); white-space: nowrap; vertical-align: bottom; }
.prose { min-width: 13rem; }
.number { text-align: right; white-space: nowrap; }
figure { margin: 0.5rem 0; overflow-x: auto; }
img { max-width: 100%; height: auto; border-radius: 4px; }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.8rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
code { font: 0.9rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
details { border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 1rem; }
details td { overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--soft); }
@media (max-width: 40rem) {
  img { max-width: 42rem; }
  .lead { font-size: 1.25rem; }
}
@media print {
  :root { --ink: #000; --soft: #444; --paper: #fff; --card: #fff; --line: #bbb; --lead: #000; }
  img { filter: none; padding: 0; max-width: 100%; }
  details::details-content { content-visibility: visible; block-size: auto; }
  main { max-width: none; padding: 0; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .wide { overflow: visible; }
  table { font-size: 0.7rem; }
}
"""
