package report

import (
	"math"
	"time"
)

// axis is a range of values with ticks at round ones.
type axis struct {
	from, to float64
	ticks    []float64
	labels   []string
	unit     string // of the labels, for the axis' title
}

// linear makes an axis of plain numbers that holds from and to, with about n steps of
// 1, 2 or 5 times a power of ten.
func linear(from, to float64, n int) axis {
	step := niceStep((to-from)/float64(n), 10, []float64{1, 2, 5, 10})
	return stepped(from, to, step, func(v float64) string { return tickNumber(v, step) })
}

// bytesAxis makes an axis of bytes, with steps of a power of two in one unit for all ticks.
func bytesAxis(from, to float64, n int) axis {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	scale, i := 1.0, 0
	for to/scale >= 1024 && i < len(units)-1 {
		scale, i = scale*1024, i+1
	}
	// Below four of a unit, ticks in it would be fractions.
	if i > 0 && to/scale < 4 {
		scale, i = scale/1024, i-1
	}
	step := niceStep((to-from)/float64(n)/scale, 2, []float64{1, 2})
	if i == 0 {
		step = max(step, 1)
	}
	a := stepped(from/scale, to/scale, step, func(v float64) string { return tickNumber(v, step) })
	a.from, a.to, a.unit = a.from*scale, a.to*scale, units[i]
	for k := range a.ticks {
		a.ticks[k] *= scale
	}
	return a
}

// timeAxis makes an axis of time, in seconds, minutes or hours; it doesn't reach beyond its ends.
func timeAxis(from, to time.Duration, n int) axis {
	scale, unit := time.Second, "seconds"
	switch span := to - from; {
	case span > 5*time.Hour:
		scale, unit = time.Hour, "hours"
	case span > 10*time.Minute:
		scale, unit = time.Minute, "minutes"
	case span < 10*time.Millisecond:
		scale, unit = time.Microsecond, "microseconds"
	case span < 2*time.Second:
		scale, unit = time.Millisecond, "milliseconds"
	}
	lo, hi := float64(from)/float64(scale), float64(to)/float64(scale)
	step := niceStep((hi-lo)/float64(n), 10, []float64{1, 2, 5, 10})
	a := axis{from: from.Seconds(), to: to.Seconds(), unit: unit}
	for i := math.Ceil(lo/step - 1e-9); i*step <= hi+step*1e-9; i++ {
		a.ticks = append(a.ticks, i*step*scale.Seconds())
		a.labels = append(a.labels, tickNumber(i*step, step))
	}
	return a
}

// niceStep gives the smallest of the multiples of a power of base that is at least step.
func niceStep(step, base float64, multiples []float64) float64 {
	if !(step > 0) || math.IsInf(step, 0) {
		return 1
	}
	power := math.Pow(base, math.Floor(math.Log(step)/math.Log(base)+1e-9))
	for _, m := range multiples {
		if power*m >= step*(1-1e-9) {
			return power * m
		}
	}
	return power * base
}

// stepped makes an axis from the last tick before from to the first after to.
func stepped(from, to, step float64, label func(float64) string) axis {
	lo, hi := math.Floor(from/step+1e-9), math.Ceil(to/step-1e-9)
	if hi <= lo {
		hi = lo + 1
	}
	a := axis{from: lo * step, to: hi * step}
	for i := lo; i <= hi; i++ {
		a.ticks = append(a.ticks, i*step)
		a.labels = append(a.labels, label(i*step))
	}
	return a
}

// tickNumber writes a tick with as many decimals as its step needs.
func tickNumber(v, step float64) string {
	decimals := 0
	for step < 0.999 && decimals < 6 {
		step *= 10
		decimals++
	}
	if decimals == 0 {
		return grouped(int64(math.Round(v)))
	}
	return trimNumber(v, decimals)
}

// at gives the place of a value between 0 and 1.
func (a axis) at(v float64) float64 { return (v - a.from) / (a.to - a.from) }
