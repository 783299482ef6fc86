"""How the report looks. One string, because the page may load nothing.

Both colour sets keep text at a contrast of at least 4.5 : 1 and marks at 3 : 1 (WCAG 2.2 AA).
"""

CSS = """
:root{color-scheme:light dark;
--paper:#fbfbf9;--card:#fff;--ink:#1c2126;--soft:#586069;--line:#e0e2df;--accent:#0b6a5d;--wash:#eef5f2;
--bad:#a8322a;--c0:#b04a16;--c1:#1f5fa8;--c2:#0b7563;--c3:#7a4399;--c4:#8a6100;--c5:#9c2f66}
@media (prefers-color-scheme:dark){:root{
--paper:#13171a;--card:#1b2125;--ink:#e7eaec;--soft:#a3adb4;--line:#333c42;--accent:#5fd0b6;--wash:#1a2b29;
--bad:#ff8f84;--c0:#ff9d62;--c1:#7db6ff;--c2:#5fd0b6;--c3:#cfa0ee;--c4:#e3b74f;--c5:#f590bd}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
.page{max-width:1020px;margin:0 auto;padding:0 22px 72px}
a{color:var(--accent)}
.skip{position:absolute;left:-999px}.skip:focus{left:12px;top:12px;background:var(--card);padding:8px 12px}
header{padding:52px 0 8px}
.kicker{margin:0 0 6px;color:var(--accent);font-weight:650;letter-spacing:.02em}
h1{font-size:clamp(1.7rem,4vw,2.5rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 18px;
text-wrap:balance}
.headline{font-size:1.22rem;line-height:1.5;max-width:44em;margin:0 0 10px;text-wrap:pretty}
.meta{color:var(--soft);margin:0}
nav{margin:22px 0 0;padding:10px 0;border-block:1px solid var(--line)}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:0;padding:0}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
h2{font-size:1.35rem;letter-spacing:-.01em;margin:52px 0 6px;scroll-margin-top:12px}
h3{font-size:1rem;margin:0 0 6px}
p{max-width:46em}.lead{color:var(--soft);margin:0 0 16px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:14px;padding:0;
margin:26px 0 0;list-style:none}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 18px}
.card .name{font-weight:650;margin:0}.card .big{font-size:2.7rem;font-weight:700;letter-spacing:-.03em;
line-height:1.15;margin:2px 0 0;font-variant-numeric:tabular-nums;color:var(--c)}
.card .small{color:var(--soft);font-size:.92rem;margin:0}
.meter{height:8px;border-radius:4px;background:var(--line);margin:10px 0 12px;position:relative}
.meter i{position:absolute;inset-block:0;border-radius:4px;background:var(--c);opacity:.4}
.meter b{position:absolute;top:-3px;bottom:-3px;width:4px;margin-left:-2px;border-radius:2px;
background:var(--c)}
figure{margin:0}figcaption{color:var(--soft);font-size:.92rem;margin-top:8px;max-width:46em}
.panel{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px;margin:0 0 16px}
.scroll{overflow-x:auto}.wide svg{min-width:540px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.92rem;padding-bottom:8px}
th,td{padding:8px 14px 8px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{font-size:.86rem;color:var(--soft);font-weight:600;vertical-align:bottom}
tbody th{font-weight:600}tbody tr:last-child>*{border-bottom:0}
.n{text-align:right;white-space:nowrap}th.n{white-space:normal}
.key{display:inline-block;width:.72em;height:.72em;border-radius:50%;background:var(--c);margin-right:.5em}
.row{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(250px,1fr))}
.maps{grid-template-columns:repeat(auto-fit,minmax(250px,1fr))}
.domains{grid-template-columns:repeat(auto-fit,minmax(320px,1fr))}
.frames{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:8px}
.frames img,.clip img,.clip video{width:100%;height:auto;display:block;border-radius:8px;border:1px solid var(--line)}
.frames img,.pixels img{image-rendering:pixelated}
.clips{grid-template-columns:repeat(auto-fit,minmax(250px,420px))}
.legend{display:flex;flex-wrap:wrap;gap:4px 22px;color:var(--soft);font-size:.92rem;margin:0 0 12px;padding:0;
list-style:none}
.legend svg{display:inline-block;width:14px;height:14px;vertical-align:-2px;margin-right:6px}
details>summary{cursor:pointer;font-weight:600;padding:6px 0}
dl{display:grid;grid-template-columns:minmax(110px,180px) 1fr;gap:8px 18px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code,pre{font:.88rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:0;padding:12px 14px;background:var(--wash);border-radius:8px;white-space:pre-wrap;
overflow-wrap:anywhere}
.short{border-left:4px solid var(--bad)}
.short ul{margin:0;padding-left:1.2em}.short li{margin:4px 0}
footer{color:var(--soft);font-size:.92rem;margin-top:56px;border-top:1px solid var(--line);padding-top:14px}
svg{display:block;width:100%;height:auto;overflow:visible}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
svg text{font-size:12.5px;fill:var(--soft);text-anchor:middle}
svg .name{font-size:14px;font-weight:600;fill:var(--ink)}
svg .end{text-anchor:end}svg .start{text-anchor:start}svg .strong{fill:var(--ink);font-weight:600}
svg .grid{stroke:var(--line)}svg .axis{stroke:var(--soft)}
svg .whisker{stroke:var(--c);stroke-width:2.5;stroke-linecap:round}
svg .dot{fill:var(--c);stroke:var(--card);stroke-width:2}
svg .hit{fill:var(--c,var(--soft));fill-opacity:.55;stroke:var(--c,var(--soft))}
svg .miss{stroke:var(--bad);stroke-width:2.6;fill:none;stroke-linecap:round}
svg .median{stroke:var(--c,var(--ink));stroke-width:2.5;stroke-linecap:round}
svg .curve{fill:none;stroke:var(--c);stroke-width:1.6;opacity:.7}svg .heat{fill:var(--bad)}
svg .limit{stroke:var(--bad);stroke-width:1.6;stroke-dasharray:5 4}
svg .bar{fill:var(--c1);rx:1.5px}
svg .empty{fill:none;stroke:var(--line);stroke-dasharray:3 3}
svg .table{fill:var(--wash);stroke:var(--line)}
@media print{body{background:#fff}.panel,.card{break-inside:avoid}nav{display:none}}
"""
