package loadtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rexgate/rexgate/client"
)

// Mix says which share of the hosts uses which transport.
type Mix []Share

// Share is the weight of one mode in a mix.
type Share struct {
	Mode   client.Mode `json:"mode"`
	Weight int         `json:"weight"`
}

// ParseMix reads a mix such as "socket", or "socket=90,poll=10".
func ParseMix(s string) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(s, ",") {
		name, weight, given := strings.Cut(strings.TrimSpace(part), "=")
		w := 1
		if given {
			var err error
			if w, err = strconv.Atoi(weight); err != nil || w < 0 || w > 1_000_000 {
				return nil, fmt.Errorf("%q: the weight of %s must be a number from 0 to 1000000", s, name)
			}
		}
		mode, err := client.ParseMode(name)
		if err != nil || name == "" {
			return nil, fmt.Errorf("%q: must be a list of socket, poll and auto with weights, such as socket=90,poll=10", s)
		}
		if slices.ContainsFunc(m, func(o Share) bool { return o.Mode == mode }) {
			return nil, fmt.Errorf("%q: %s is there twice", s, name)
		}
		m = append(m, Share{mode, w})
	}
	if m.total() == 0 {
		return nil, fmt.Errorf("%q: all weights are 0", s)
	}
	return m, nil
}

// String is as ParseMix reads it.
func (m Mix) String() string {
	if len(m) == 1 {
		return string(m[0].Mode)
	}
	parts := make([]string, len(m))
	for i, s := range m {
		parts[i] = fmt.Sprintf("%s=%d", s.Mode, s.Weight)
	}
	return strings.Join(parts, ",")
}

func (m Mix) total() int {
	n := 0
	for _, s := range m {
		n += s.Weight
	}
	return n
}

// Assign gives the modes of n hosts, each mode spread evenly over them: any run of hosts has about
// the mix.
func (m Mix) Assign(n int) []client.Mode {
	given := make([]int, len(m))
	out := make([]client.Mode, n)
	total := m.total()
	for i := range out {
		best, most := 0, 0
		for k, s := range m {
			// What is owed after this host, in units of 1/total.
			if owed := s.Weight*(i+1) - given[k]*total; k == 0 || owed > most {
				best, most = k, owed
			}
		}
		given[best]++
		out[i] = m[best].Mode
	}
	return out
}

// connections is how many connections a host may have at once: who polls may also post.
func (m Mix) connections() int {
	for _, s := range m {
		if s.Mode != client.ModeSocket && s.Weight > 0 {
			return 2
		}
	}
	return 1
}
