#!/bin/sh
# Draws budget.txt: where a boot's instructions go, our kernel beside Debian's.
#
#   tests/budget/picture.sh >iso-build/boot.svg
set -eu
awk '
function bar(kernel, label, y,    x, i, name, width, million) {
    printf "<text x=\"0\" y=\"%d\">%s</text>\n", y - 8, label
    x = 0
    for (i = 1; i <= 4; i++) {
        name = part[i]
        width = figure[kernel "." name] / scale
        if (width < 1) width = 1
        million = figure[kernel "." name] / 1e6
        printf "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"26\" fill=\"%s\"><title>%s: %.1f million</title></rect>\n",
            x, y, width, colour[i], title[i], million
        x += width
    }
    printf "<text x=\"%.1f\" y=\"%d\" class=\"sum\">%.0f million</text>\n", x + 6, y + 18, total[kernel] / 1e6
}
/^[a-z]+\./ { figure[$1] = $2; split($1, key, "."); if (key[2] ~ /^(firmware|unpack|kernel|instructions)$/) total[key[1]] += $2 }
END {
    split("firmware unpack kernel instructions", part, " ")
    split("firmware (SeaBIOS)|unpacking the kernel|the kernel, with its drivers|tether, to the container", title, "|")
    split("#8a8f98 #d08c3c #4a7fb5 #3f9a5f", colour, " ")
    most = total["debian"] > total["own"] ? total["debian"] : total["own"]
    scale = most / 640
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-10 -10 780 200\" font-family=\"sans-serif\" font-size=\"13\">"
    print "<style>.sum { fill: #555 }</style>"
    bar("own", "our kernel", 20)
    bar("debian", "the kernel of Debian", 82)
    for (i = 1; i <= 4; i++) {
        printf "<rect x=\"%d\" y=\"130\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"141\">%s</text>\n",
            (i - 1) % 2 * 300, colour[i], (i - 1) % 2 * 300 + 18, title[i]
        if (i == 2) print "<g transform=\"translate(0 24)\">"
    }
    print "</g>\n</svg>"
}' "$(dirname "$0")/budget.txt"
