package faults

import (
	"bytes"
	"context"
	"fmt"

	"github.com/rexgate/rexgate/queue"
)

// output compares what is stored with what the script prints, byte for byte.
func (c *checker) output(ctx context.Context, o *order, x *queue.Execution) error {
	id := string(x.ID())
	stdout, stderr := o.Plan.Output(id)
	var got [2][]byte
	gap := int64(0)
	seq := int64(0)
	for offset := int64(0); ; {
		chunks, err := c.store.Output(ctx, queue.OutputQuery{Job: x.Job, Host: x.Host, Offset: offset, Limit: queue.MaxOutputPage})
		if err != nil {
			return err
		}
		n := int64(0)
		for _, ch := range chunks {
			if ch.Gap > 0 {
				if ch.Seq > seq { // it takes no room: a page that begins with it may give it again
					gap += ch.Gap
				}
				seq = max(seq, ch.Seq)
				continue
			}
			seq = max(seq, ch.Seq)
			i := 0
			if ch.Stream == queue.Stderr {
				i = 1
			}
			got[i] = append(got[i], ch.Data...)
			n += int64(len(ch.Data))
		}
		if offset += n; n == 0 {
			break
		}
	}
	if int64(len(got[0])) != x.Output.Stdout || int64(len(got[1])) != x.Output.Stderr || gap != x.Output.Gap {
		c.bad("output", id, "the record counts %+v, there are %d, %d and a gap of %d", x.Output, len(got[0]), len(got[1]), gap)
	}
	whole := x.State == queue.Succeeded || x.State == queue.Failed && x.Result.ExitCode >= 0
	for i, want := range [][]byte{stdout, stderr} {
		name := []string{"stdout", "stderr"}[i]
		switch {
		case gap > 0:
			if !pieces(got[i], want) {
				c.bad("output", id, "%s with a gap isn't made of pieces of what was printed: %s", name, differ(got[i], want))
			}
		case !bytes.HasPrefix(want, got[i]):
			c.bad("output", id, "%s isn't what was printed: %s", name, differ(got[i], want))
		case whole && x.Output.Dropped == 0 && len(got[i]) != len(want):
			c.bad("output", id, "%s has %d of %d bytes, and isn't marked", name, len(got[i]), len(want))
		}
	}
	if gap > 0 && !c.mayLose(x) {
		c.bad("output", id, "a gap of %d bytes, though nothing lost them", gap)
	}
	total := int64(len(stdout) + len(stderr))
	if have := int64(len(got[0])+len(got[1])) + x.Output.Dropped; whole && gap == 0 && have != total {
		c.bad("output", id, "%d bytes are stored or counted as dropped, %d were printed", have, total)
	}
	if x.Output.Dropped > 0 && o.Limit == 0 && gap == 0 && !c.mayBreak(x) {
		c.bad("output", id, "%d bytes dropped without a limit", x.Output.Dropped)
	}
	return nil
}

// pieces tells whether got is made of pieces of want, in order.
func pieces(got, want []byte) bool {
	for len(got) > 0 {
		line, rest, whole := bytes.Cut(got, []byte("\n"))
		if i := bytes.Index(want, line); i < 0 {
			return false
		} else if whole {
			want = want[i:]
		}
		got = rest
	}
	return true
}

func differ(got, want []byte) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("%d bytes, %d were printed; they differ from byte %d on: %.80q, printed was %.80q", len(got), len(want), i, got[i:], want[i:])
}
