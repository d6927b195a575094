#!/usr/bin/env bash
# Opens an HTML report in a real browser and measures it: tests/html_report.sh report.html
#
# The last line is "N passed, N failed", or says that the test was skipped because there is no Chromium.
set -u -o pipefail

if [ $# -ne 1 ] || [ ! -r "$1" ]; then
    echo "usage: $0 report.html" >&2
    exit 2
fi
report=$(realpath -- "$1")

browser=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome-stable google-chrome; do
    [ -n "$browser" ] && break
    browser=$(command -v "$name" || true)
done
if [ -z "$browser" ]; then
    echo "skipped: no Chromium found; set CHROMIUM to its path"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

# Only file: URLs are opened and every name resolves to nothing, so that a page that loads something cannot get it.
open_page() { # open_page LOG ARGUMENT...
    local log=$1
    shift
    timeout 300 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-extensions \
        --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
        --host-resolver-rules='MAP * ~NOTFOUND' --allow-file-access-from-files --enable-logging=stderr \
        --user-data-dir="$work/profile" "$@" 2>"$log"
}

# Chromium's window cannot be as narrow as a phone, but a frame in it can. The frame's page is the report itself; the
# measuring script stands outside of it, because the report's own policy allows none.
cp -- "$report" "$work/report.html"
for width in 400 1280; do
    cat >"$work/frame-$width.html" <<PAGE
<!doctype html><meta charset="utf-8"><title>frame</title>
<body style="margin:0"><iframe id="frame" src="report.html" style="border:0;width:${width}px;height:2400px"></iframe>
<script>
addEventListener("load", () => {
  const page = document.getElementById("frame").contentDocument, put = (k, v) => document.body.setAttribute("data-" + k, v);
  const at = [...page.querySelectorAll("body *")].filter((e) => !e.closest("svg, .unseen"));
  page.querySelectorAll("details").forEach((e) => { e.open = true; });
  put("title", page.title.trim() === "" ? "missing" : "set");
  put("inner", page.defaultView.innerWidth);
  put("scroll", page.documentElement.scrollWidth);
  put("out", at.filter((e) => e.getBoundingClientRect().right > page.defaultView.innerWidth + 1).length);
  put("letters", Math.min(...[...page.querySelectorAll("svg text")].map((e) => parseFloat(getComputedStyle(e).fontSize)), 99));
  put("loaded", page.defaultView.performance.getEntriesByType("resource").length);
});
</script></body>
PAGE
done

has() { grep -q -- "$1" "$2"; }
quiet() { ! grep -E 'CONSOLE|Refused to|Uncaught' "$1"; }
value() { sed -n "s/.* data-$1=\"\([^\"]*\)\".*/\1/p" "$2" | head -n 1; }
is_picture() { [ "$(head -c 8 "$1" 2>/dev/null | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]; }
fits() { [ -n "$1" ] && [ -n "$2" ] && [ "$1" -le "$2" ]; }
readable() { [ -n "$1" ] && [ "${1%%.*}" -ge 11 ]; }

open_page "$work/page.log" --dump-dom "file://$work/report.html" >"$work/page.dom"
check "opens" test $? -eq 0
check "says nothing on the console" quiet "$work/page.log"
check "shows an outcome" has '<h1>' "$work/page.dom"

for width in 400 1280; do
    dom=$work/frame-$width.dom
    open_page "$work/$width.log" --window-size=1400,2400 --dump-dom "file://$work/frame-$width.html" >"$dom"
    check "at $width px: opens" test $? -eq 0
    check "at $width px: says nothing on the console" quiet "$work/$width.log"
    check "at $width px: has a document title" test "$(value title "$dom")" = set
    check "at $width px: is laid out at that width" test "$(value inner "$dom")" = "$width"
    check "at $width px: does not scroll sideways" fits "$(value scroll "$dom")" "$(value inner "$dom")"
    check "at $width px: nothing stands out at the right" test "$(value out "$dom")" = 0
    check "at $width px: the chart's letters can be read" readable "$(value letters "$dom")"
    check "at $width px: loads nothing else" test "$(value loaded "$dom")" = 0
    open_page "$work/$width.log" --window-size=1400,2400 --screenshot="$work/$width.png" "file://$work/frame-$width.html" >/dev/null
    check "at $width px: can be drawn" is_picture "$work/$width.png"
done

finish
