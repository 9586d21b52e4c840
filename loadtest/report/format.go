package report

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// formatDuration gives three significant digits with a unit, and minutes and seconds
// from two minutes on.
func formatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + formatDuration(-d)
	}
	switch {
	case d == 0:
		return "0 s"
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + " ns"
	case d < 999500*time.Nanosecond:
		return digits(float64(d)/1e3) + " us"
	case d < 999500*time.Microsecond:
		return digits(float64(d)/1e6) + " ms"
	case d < 2*time.Minute:
		return digits(d.Seconds()) + " s"
	}
	d = d.Round(time.Second)
	text := strconv.Itoa(int(d/time.Minute)) + " min"
	if s := int(d % time.Minute / time.Second); s > 0 && d < time.Hour {
		text += " " + strconv.Itoa(s) + " s"
	}
	return text
}

// digits gives a number with three significant digits.
func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0"
	case a < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return grouped(int64(math.Round(v)))
}

// grouped writes an integer with commas between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}

// formatBytes gives three significant digits with a binary unit.
func formatBytes(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for math.Abs(n) >= 999.5 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 {
		return strconv.FormatInt(int64(math.Round(n)), 10) + " B"
	}
	return digits(n) + " " + units[i]
}

// formatUnit writes a figure in its unit.
func formatUnit(v float64, unit string) string {
	switch unit {
	case "s":
		return formatDuration(time.Duration(math.Round(v * float64(time.Second))))
	case "bytes":
		return formatBytes(v)
	case "/s":
		return digits(v) + "/s"
	case "":
		return digits(v)
	}
	return digits(v) + " " + unit
}

// trimNumber writes a number with so many decimals; what rounds to zero has no sign.
func trimNumber(v float64, decimals int) string {
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Trim(text, "-0.") == "" {
		return strings.TrimPrefix(text, "-")
	}
	return text
}
