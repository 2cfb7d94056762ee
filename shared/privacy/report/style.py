"""The style sheet of report pages; readable at 360 pixels, in the dark, and on paper."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b2530;--soft:#55626f;--line:#d5dce3;--paper:#fff;--back:#f4f6f8;
--blue:#1f6fb2;--green:#2a7d4f;--amber:#a86400;--red:#b3261e;--warn:#fff6e5}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9fadba;--line:#34404c;--paper:#1a222b;
--back:#11171d;--blue:#6db3ee;--green:#63c08b;--amber:#e0a243;--red:#f2857d;--warn:#2e2617}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:860px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:1.5rem;line-height:1.25;margin:0}
h2{font-size:1.12rem;line-height:1.3;margin:0 0 10px}
h2.part{margin:34px 0 12px;font-size:1.25rem}
p{margin:0 0 12px}
.sub{color:var(--soft);margin:4px 0 18px;overflow-wrap:anywhere}
section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:18px;margin:0 0 16px}
section.warn{background:var(--warn);border-color:var(--amber)}
.headline{font-size:1.25rem;line-height:1.35;font-weight:600}
.bar{display:block;width:100%;height:14px;border-radius:7px;margin:2px 0 16px}
.bar .whole{fill:var(--line)}
.bar.low .used{fill:var(--green)}.bar.middle .used{fill:var(--amber)}.bar.high .used{fill:var(--red)}
dl{margin:0}dt{color:var(--soft);font-size:.9rem}dd{margin:0;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:14px;margin-top:16px}
.tiles dd{font-size:1.35rem;font-weight:600;line-height:1.3}
.tiles small{display:block;font-size:.85rem;font-weight:400;color:var(--soft)}
.rows>div{display:grid;grid-template-columns:minmax(150px,34%) 1fr;gap:12px;padding:7px 0;
border-top:1px solid var(--line)}
.rows>div:first-child{border-top:0}
ul{margin:0 0 8px;padding-left:20px}li{margin:0 0 7px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;padding:7px 16px 7px 0;border-top:1px solid var(--line);vertical-align:top}
thead th{border-top:0;color:var(--soft);font-weight:600}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:0}figcaption{color:var(--soft);font-size:.9rem;margin-top:8px}
.chart{display:block;width:100%;height:auto}
.chart text{fill:var(--soft);font-size:15px}
.chart .grid{stroke:var(--line);stroke-width:1}
.chart .line{stroke:var(--blue);stroke-width:2.5;fill:none;stroke-linejoin:round}
.chart .area{fill:var(--blue);fill-opacity:.12}
.chart .ahead{stroke:var(--blue);stroke-width:2;stroke-dasharray:5 5;fill:none}
.chart .dot{fill:var(--blue)}
@media(max-width:520px){main{padding:14px 10px 36px}section{padding:14px}
.rows>div{grid-template-columns:1fr;gap:0}.chart text{font-size:27px}}
@media print{:root{color-scheme:light}body{background:#fff;font-size:13px}main{padding:0;max-width:none}
section{break-inside:avoid;padding:11px 14px;margin:0 0 10px}.chart{max-height:190px}p{margin:0 0 8px}li{margin:0 0 4px}
.rows>div{padding:4px 0}}
"""
