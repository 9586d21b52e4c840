package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is seconds in JSON, exact to the nanosecond.
type Duration time.Duration

// MarshalJSON gives seconds as a decimal number.
func (d Duration) MarshalJSON() ([]byte, error) {
	n := int64(d)
	sign := ""
	u := uint64(n)
	if n < 0 {
		sign, u = "-", -u
	}
	whole, rest := u/1e9, u%1e9
	if rest == 0 {
		return []byte(sign + strconv.FormatUint(whole, 10)), nil
	}
	return []byte(strings.TrimRight(fmt.Sprintf("%s%d.%09d", sign, whole, rest), "0")), nil
}

// UnmarshalJSON reads seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	// 2^53 ns, up to where a float64 is exact, are 104 days.
	if err != nil || math.IsNaN(f) || math.Abs(f) > 9e9 {
		return fmt.Errorf("%q is no number of seconds", b)
	}
	*d = Duration(math.Round(f * 1e9))
	return nil
}

// String gives three significant digits with a unit: "1.23 ms".
func (d Duration) String() string { return formatDuration(time.Duration(d)) }

// Seconds gives the duration as a number of seconds.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }
