"""The style sheet of the page, for light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fbfbf9; --card: #ffffff; --ink: #1d2125; --soft: #5c656e; --faint: #8b949d; --rule: #e3e5e3;
  --good: #1f7a46; --bad: #b3361f; --winner: #e9f4ec; --budget: #c9a227;
  --torch: #d4562c; --torch_compile: #b88200; --onnx: #2e6fd1; --openvino: #128577; --tensorrt: #7a4cc7;
  --part1: #c4cbd2; --part2: #7fa3c9; --part3: #d9a441; --part4: #3f8f6b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --card: #1c2024; --ink: #e8eaec; --soft: #a7b0b8; --faint: #78828b; --rule: #30363b;
    --good: #66c88f; --bad: #ff8a70; --winner: #1d3527; --budget: #d9b94a;
    --torch: #ff8a5e; --torch_compile: #e6b43c; --onnx: #74aaff; --openvino: #40c4b0; --tensorrt: #b494ff;
    --part1: #5a636b; --part2: #5f8fc4; --part3: #d9a441; --part4: #55b98c;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 0 0 2px; }
p { margin: 0 0 10px; }
.lead { font-size: 17px; max-width: 100ch; margin: 14px 0 0; }
.facts, .note { color: var(--soft); }
.note { font-size: 13px; margin-bottom: 12px; max-width: 90ch; }
.warning { border-left: 3px solid var(--budget); padding: 6px 12px; margin: 16px 0 0; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 18px 20px 16px;
  margin-top: 20px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 20px; margin-top: 20px;
  align-items: start; }
.pair section { margin-top: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 12px; vertical-align: bottom;
  line-height: 1.3; }
th, td { padding: 6px 7px; border-bottom: 1px solid var(--rule); }
td { white-space: nowrap; vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.number { text-align: right; }
td small { color: var(--faint); font-size: 11.5px; display: block; line-height: 1.25; }
td.reason { white-space: normal; color: var(--soft); min-width: 260px; overflow-wrap: anywhere; }
.best { background: var(--winner); font-weight: 650; color: var(--good); }
.agrees { color: var(--good); } .differs, .failed { color: var(--bad); }
tr.unranked td { color: var(--faint); } tr.unranked td.differs, tr.unranked td.failed { color: var(--bad); }
.swatch { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 7px; }
.keys { font-size: 12.5px; color: var(--soft); margin: 0 0 8px; }
.keys span { margin-right: 16px; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; max-width: 760px;
  font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
svg text { fill: var(--ink); } svg .tick, svg .unit { fill: var(--faint); font-size: 11px; }
svg .dim { fill: var(--faint); } svg .value { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--rule); } svg .whisker { stroke: var(--ink); stroke-width: 1.3; opacity: 0.75; }
svg .budget { stroke: var(--budget); stroke-dasharray: 4 4; } svg .leader { stroke: var(--rule); }
svg .band { fill: var(--onnx); opacity: 0.18; } svg .curve { fill: none; stroke: var(--onnx); stroke-width: 2; }
svg .curve-dot { fill: var(--onnx); }
.torch { --hue: var(--torch); } .torch_compile { --hue: var(--torch_compile); } .onnx { --hue: var(--onnx); }
.openvino { --hue: var(--openvino); } .tensorrt { --hue: var(--tensorrt); } .swatch { background: var(--hue); }
svg .bar.on, svg .dot.on { fill: var(--hue); } svg .range.on { fill: var(--hue); opacity: 0.45; }
svg .bar.off, svg .dot.off { fill: var(--card); stroke: var(--hue); stroke-width: 1.3; stroke-dasharray: 3 2; }
svg .range.off { fill: var(--hue); opacity: 0.2; } svg .stroke { stroke: var(--hue); stroke-width: 2; }
.part1 { fill: var(--part1); background: var(--part1); } .part2 { fill: var(--part2); background: var(--part2); }
.part3 { fill: var(--part3); background: var(--part3); } .part4 { fill: var(--part4); background: var(--part4); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 10px 0 0; font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
ul { margin: 8px 0 0; padding-left: 20px; font-size: 13.5px; } li { margin-bottom: 4px; }
@media (max-width: 560px) { .pair { grid-template-columns: 1fr; } main { padding: 20px 12px 40px; } }
@media print { section { break-inside: avoid; } }
"""
