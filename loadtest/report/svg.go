package report

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Places in a picture, in pixels.
const (
	pictureWidth  = 760
	pictureHeight = 360
	plotLeft      = 78
	plotRight     = 738
	plotTop       = 92
	plotBottom    = 312
)

// palette is in pairs, for light and dark: colours that people who don't see all of them can tell
// apart (after Okabe and Ito), dark ones lighter.
var palette = [...][2]string{
	{"#0072b2", "#58b0ec"},
	{"#d55e00", "#ff8a3c"},
	{"#009e73", "#2fcf9f"},
	{"#b0468f", "#e58cc6"},
	{"#b58900", "#f0c24b"},
	{"#57606a", "#9aa4af"},
}

// grey is for what is beside the point.
const grey = len(palette) - 1

// style is what pictures have in common; %s takes the rules of the lines, light and dark.
const style = `<style>
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}.muted{fill:#59636e}.small{font-size:11px}.end{text-anchor:end}.middle{text-anchor:middle}
.back{fill:#fff;stroke:#d1d9e0}.grid{stroke:#e4e8ec}.axis{stroke:#818b98}.mark{stroke:#afb8c1;stroke-dasharray:2 3}.limit{stroke:#818b98;stroke-dasharray:6 4}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.key{stroke-width:4}.area{stroke:none;fill-opacity:.8}
%s@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.muted{fill:#9198a1}
.back{fill:#0d1117;stroke:#30363d}.grid{stroke:#222831}.axis{stroke:#6e7681}.mark{stroke:#484f58}.limit{stroke:#6e7681}
%s}
</style>
`

// line is a series in a picture.
type line struct {
	of     string
	colour int
	series Series
}

// chart is a picture of lines over time.
type chart struct {
	name, title, subtitle string
	unit, since           string // titles of the axes
	bytes                 bool   // values are bytes
	stacked               bool   // values add up: areas on top of each other, the first at the bottom
	limit                 float64
	limitName             string
	lines                 []line
	marks                 []mark
}

// svg draws the picture. The same series give the same bytes.
func (c chart) svg() []byte {
	x, y := c.axes()
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="%s-title">`+"\n",
		pictureWidth, pictureHeight, pictureWidth, pictureHeight, escape(c.name))
	fmt.Fprintf(&b, "<title id=\"%s-title\">%s (%s)</title>\n", escape(c.name), escape(c.title), escape(c.subtitle))
	fmt.Fprintf(&b, style, c.rules(0), c.rules(1))
	fmt.Fprintf(&b, `<rect class="back" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>`+"\n", pictureWidth-1, pictureHeight-1)
	text(&b, 20, 28, "title", c.title)
	text(&b, 20, 46, "muted small", c.subtitle)
	c.legend(&b)
	c.grid(&b, x, y)
	c.drawMarks(&b, x)
	if c.stacked {
		c.drawStack(&b, x, y)
	} else {
		for _, l := range c.lines {
			fmt.Fprintf(&b, `<path class="line c%d" d="%s"/>`+"\n", l.colour, path(l.series, x, y))
		}
	}
	c.drawLimit(&b, y)
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// rules colours the lines, for light (0) or dark (1).
func (c chart) rules(theme int) string {
	var b strings.Builder
	for i, p := range palette {
		if slices.ContainsFunc(c.lines, func(l line) bool { return l.colour == i }) {
			fmt.Fprintf(&b, ".c%d{stroke:%s}", i, p[theme])
			if c.stacked {
				fmt.Fprintf(&b, ".a%d{fill:%s}", i, p[theme])
			}
		}
	}
	return b.String() + "\n"
}

// axes hold all points.
func (c chart) axes() (x, y axis) {
	from, to, most := time.Duration(math.MaxInt64), time.Duration(math.MinInt64), 0.0
	for _, l := range c.lines {
		times := l.series.Times
		from, to = min(from, time.Duration(times[0])), max(to, time.Duration(times[len(times)-1]))
		most = max(most, slices.Max(l.series.Values))
	}
	if c.stacked {
		total := slices.Clone(c.lines[0].series.Values)
		for _, l := range c.lines[1:] {
			for i, v := range l.series.Values {
				total[i] += v
			}
		}
		most = slices.Max(total)
	}
	if most >= c.limit/3 {
		most = max(most, c.limit)
	}
	// What begins within a tenth of the whole of zero, begins at zero.
	if from > 0 && from < (to-from)/10 || len(c.marks) == 0 && from > 0 {
		from = 0
	}
	if to <= from {
		to = from + time.Second
	}
	if most <= 0 {
		most = 1
	}
	x = timeAxis(from, to, 10)
	if c.bytes {
		return x, bytesAxis(0, most, 5)
	}
	return x, linear(0, most, 5)
}

// grid draws the axes.
func (c chart) grid(b *bytes.Buffer, x, y axis) {
	for i, v := range y.ticks {
		at, class := placeY(y, v), "grid"
		if i == 0 {
			class = "axis"
		}
		fmt.Fprintf(b, `<path class="%s" d="M%d %sH%d"/>`+"\n", class, plotLeft, number(at), plotRight)
		text(b, plotLeft-8, at+4, "muted small end", y.labels[i])
	}
	for i, v := range x.ticks {
		at := placeX(x, v)
		fmt.Fprintf(b, `<path class="axis" d="M%s %dv5"/>`+"\n", number(at), plotBottom)
		text(b, at, plotBottom+19, "muted small middle", x.labels[i])
	}
	unit := c.unit
	if y.unit != "" {
		unit = y.unit + " " + unit
	}
	text(b, plotLeft-8, plotTop-20, "muted small", unit)
	text(b, (plotLeft+plotRight)/2, plotBottom+38, "muted small middle", x.unit+" "+c.since)
}

// Sizes of letters, about.
const (
	letter      = 6.6
	smallLetter = 5.8
)

// legend names the lines, in a row at the right of the axis' title.
func (c chart) legend(b *bytes.Buffer) {
	const swatch, gap = 22, 18
	total := -float64(gap)
	for _, l := range c.lines {
		total += swatch + letter*float64(len([]rune(l.of))) + gap
	}
	at := plotRight - total
	for _, l := range c.lines {
		fmt.Fprintf(b, `<path class="line key c%d" d="M%s %dh16"/>`+"\n", l.colour, number(at), plotTop-24)
		text(b, at+swatch, plotTop-20, "", l.of)
		at += swatch + letter*float64(len([]rune(l.of))) + gap
	}
}

// drawMarks draws where phases begin, and names those that are wide enough.
func (c chart) drawMarks(b *bytes.Buffer, x axis) {
	for _, m := range c.marks {
		begin, end := max(m.at.Seconds(), x.from), min(m.until.Seconds(), x.to)
		if end <= begin {
			continue
		}
		left, right := placeX(x, begin), placeX(x, end)
		if begin > x.from {
			fmt.Fprintf(b, `<path class="mark" d="M%s %dV%d"/>`+"\n", number(left), plotTop, plotBottom)
		}
		if name := clean(m.name); right-left > smallLetter*float64(len([]rune(name)))+6 {
			text(b, (left+right)/2, plotTop-4, "muted small middle", name)
		}
	}
}

// drawLimit draws what can't be exceeded, if that is in the picture.
func (c chart) drawLimit(b *bytes.Buffer, y axis) {
	if c.limit > 0 && c.limit <= y.to {
		at := placeY(y, c.limit)
		fmt.Fprintf(b, `<path class="limit" d="M%d %sH%d"/>`+"\n", plotLeft, number(at), plotRight)
		text(b, plotLeft+6, at-5, "muted small", c.limitName)
	}
}

// path draws a series: of the points that share a column of pixels, the first, the
// least, the most and the last.
func path(s Series, x, y axis) string {
	var b strings.Builder
	command := byte('M')
	point := func(i int) {
		b.WriteByte(command)
		b.WriteString(number(placeX(x, s.Times[i].Seconds())) + " " + number(placeY(y, s.Values[i])))
		command = 'L'
	}
	for i := 0; i < len(s.Times); {
		column := int(placeX(x, s.Times[i].Seconds()))
		least, most, last := i, i, i
		for last+1 < len(s.Times) && int(placeX(x, s.Times[last+1].Seconds())) == column {
			last++
			if s.Values[last] < s.Values[least] {
				least = last
			}
			if s.Values[last] > s.Values[most] {
				most = last
			}
		}
		chosen := []int{i, least, most, last}
		slices.Sort(chosen)
		for _, k := range slices.Compact(chosen) {
			point(k)
		}
		i = last + 1
	}
	return b.String()
}

// drawStack draws areas on top of each other. All series have the same times; what shares a
// column of pixels is drawn as its mean.
func (c chart) drawStack(b *bytes.Buffer, x, y axis) {
	times := c.lines[0].series.Times
	var places []float64
	var starts []int
	for i, t := range times {
		if at := placeX(x, t.Seconds()); len(places) == 0 || int(at) != int(places[len(places)-1]) {
			places, starts = append(places, at), append(starts, i)
		}
	}
	starts = append(starts, len(times))
	below := make([]float64, len(places))
	for _, l := range c.lines {
		above := make([]float64, len(places))
		var up, down strings.Builder
		for k := range places {
			sum := 0.0
			for _, v := range l.series.Values[starts[k]:starts[k+1]] {
				sum += v
			}
			above[k] = below[k] + sum/float64(starts[k+1]-starts[k])
			up.WriteString("L" + number(places[k]) + " " + number(placeY(y, above[k])))
		}
		for k := range slices.Backward(places) {
			down.WriteString("L" + number(places[k]) + " " + number(placeY(y, below[k])))
		}
		fmt.Fprintf(b, `<path class="area a%d" d="M%s%sZ"/>`+"\n", l.colour, up.String()[1:], down.String())
		below = above
	}
}

func placeX(x axis, v float64) float64 { return plotLeft + x.at(v)*(plotRight-plotLeft) }

func placeY(y axis, v float64) float64 { return plotBottom - y.at(v)*(plotBottom-plotTop) }

// number writes a place to a tenth of a pixel.
func number(v float64) string {
	return strings.TrimSuffix(trimNumber(v, 1), ".0")
}

func text(b *bytes.Buffer, x, y float64, class, s string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	fmt.Fprintf(b, "<text x=%s y=%s%s>%s</text>\n", strconv.Quote(number(x)), strconv.Quote(number(y)), class, escape(s))
}

// escape makes a text safe in XML, as content and in attributes.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;").Replace(clean(s))
}
