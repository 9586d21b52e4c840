package faults

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tracer appends to the trace. One line is one write, so that lines of many processes don't mix.
type tracer struct{ file *os.File }

func openTrace(path string) (*tracer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	return &tracer{f}, err
}

func (t *tracer) add(what, execution string) error {
	_, err := fmt.Fprintf(t.file, "%s %s %d %d\n", what, execution, time.Now().UnixNano(), os.Getpid())
	return err
}

// ran is what the trace tells of an execution.
type ran struct {
	starts, ends []time.Time
}

// readTrace reads the trace whole.
func readTrace(path string) (map[string]*ran, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]*ran{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) != 4 {
			return nil, fmt.Errorf("the trace has a line %q", sc.Text())
		}
		ns, err := strconv.ParseInt(w[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the trace has a line %q", sc.Text())
		}
		r := all[w[1]]
		if r == nil {
			r = &ran{}
			all[w[1]] = r
		}
		switch at := time.Unix(0, ns); w[0] {
		case "start":
			r.starts = append(r.starts, at)
		case "end":
			r.ends = append(r.ends, at)
		default:
			return nil, fmt.Errorf("the trace has a line %q", sc.Text())
		}
	}
	return all, sc.Err()
}
