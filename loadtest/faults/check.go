package faults

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// checker compares what is stored with what is known otherwise.
type checker struct {
	r     *run
	store queue.Store
	ran   map[string]*ran
	jobs  map[queue.JobID]*order
	// struck are the strikes by host; "" those of all.
	struck map[string][]*strike
	seen   int // executions
	// unknown counts scripts that were started twice since nobody knew of the first time.
	unknown int
}

// check ends the world part by part, and looks at what is left.
func (r *run) check(ctx context.Context) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.say("comparing records, output and trace")
	store, err := r.cfg.OpenStore(ctx, r.w.storeAt())
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer store.Close()
	c := &checker{r: r, store: store, jobs: map[queue.JobID]*order{}, struck: map[string][]*strike{}}
	if c.ran, err = readTrace(r.w.trace); err != nil {
		return err
	}
	for _, st := range r.strikes {
		if st.Hosts == nil {
			c.struck[""] = append(c.struck[""], st)
		}
		for _, h := range st.Hosts {
			c.struck[h] = append(c.struck[h], st)
		}
	}
	for _, o := range r.load.orders {
		if o.ID != "" {
			c.jobs[queue.JobID(o.ID)] = o
		}
	}
	if err := c.jobsStored(ctx); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(c.jobs)) {
		if err := c.job(ctx, c.jobs[id]); err != nil {
			return err
		}
	}
	c.strays()
	if err := c.derived(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = c.seen
	if c.unknown > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%d scripts were started twice: a failover lost the store's record, and the host lost its state", c.unknown))
	}
	return nil
}

func (c *checker) bad(rule, of, format string, args ...any) {
	c.r.note(violation{rule, of, fmt.Sprintf(format, args...)})
}

// jobsStored looks for jobs twice, and for jobs that nobody submitted.
func (c *checker) jobsStored(ctx context.Context) error {
	names := map[string]queue.JobID{}
	for after := ""; ; {
		jobs, next, err := c.store.ListJobs(ctx, after, queue.MaxPage)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if other, ok := names[j.Spec.Name]; ok && !c.excused(j.CreatedAt) {
				c.bad("submitted once", string(j.ID), "%s is also %s: one key made two jobs", j.Spec.Name, other)
			}
			names[j.Spec.Name] = j.ID
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// excused tells whether a failover may have lost what was acknowledged at a time.
func (c *checker) excused(at time.Time) bool {
	c.r.load.mu.Lock()
	defer c.r.load.mu.Unlock()
	return c.r.load.excusedLocked(at)
}

// rolledBack tells whether a failover was between two times: what happened by then may have gone and come again.
func (c *checker) rolledBack(from, to time.Time) bool {
	for _, w := range c.r.load.windows {
		if w.From.Before(to) && w.To.After(from) {
			return true
		}
	}
	return false
}

// job checks a job, with all its executions.
func (c *checker) job(ctx context.Context, o *order) error {
	id := queue.JobID(o.ID)
	j, err := c.store.Job(ctx, id)
	if queue.CodeOf(err) == queue.NotFound {
		if !c.excused(o.At) {
			c.bad("accepted is stored", o.ID, "%s was answered with a 2xx, and isn't there", o.name())
		}
		return nil
	}
	if err != nil {
		return err
	}
	states, err := c.store.States(ctx, id)
	if err != nil {
		return err
	}
	counted, n := queue.Counters{}, 0
	for after := ""; ; {
		xs, next, err := c.store.Executions(ctx, queue.ExecutionQuery{Job: id, After: after, Limit: queue.MaxPage})
		if err != nil {
			return err
		}
		for i := range xs {
			x := &xs[i]
			counted[x.State]++
			n++
			if x.Ordinal >= len(states) || states[x.Ordinal] != byte(x.State) {
				c.bad("state bytes", string(x.ID()), "the record says %v, the bytes %q at %d", x.State, states, x.Ordinal)
			}
			if last := o.states; len(last) == len(states) && queue.State(last[x.Ordinal]).Terminal() && last[x.Ordinal] != byte(x.State) && !c.rolledBack(x.ReleasedAt, time.Now()) {
				c.bad("terminal stays", string(x.ID()), "was seen as %v, and is %v", queue.State(last[x.Ordinal]), x.State)
			}
			if err := c.execution(ctx, o, x, j.CreatedAt); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			break
		}
	}
	if n != len(o.Hosts) || len(states) != n {
		c.bad("targets", o.ID, "%d executions and %d state bytes for %d hosts", n, len(states), len(o.Hosts))
	}
	for _, s := range queue.States() {
		if j.Counters[s] != counted[s] {
			c.bad("counters", o.ID, "%d are counted as %v, %d are", j.Counters[s], s, counted[s])
		}
	}
	return nil
}

// execution checks one execution.
func (c *checker) execution(ctx context.Context, o *order, x *queue.Execution, created time.Time) error {
	id := string(x.ID())
	c.seen++
	c.strikesOn(created, x)
	t := c.ran[id]
	if t == nil {
		t = &ran{}
	}
	delete(c.ran, id)
	back := c.rolledBack(o.At.Add(-time.Minute), time.Now())
	if len(t.starts) == 2 && c.nobodyKnew(x.Host, t) {
		c.unknown++
		t.starts = t.starts[1:]
		t.ends = t.ends[max(len(t.ends)-1, 0):]
	}
	switch {
	case len(t.starts) > 1:
		c.bad("started once", id, "started %d times: %v; it is %v, leased %d times", len(t.starts), t.starts, x.State, x.Deliveries)
	case len(t.ends) > len(t.starts):
		c.bad("started once", id, "it ended %d times, and started %d times", len(t.ends), len(t.starts))
	}
	if !x.State.Terminal() {
		c.bad("ends", id, "it is %v (%+v)", x.State, *x)
		return nil
	}
	started := len(t.starts) > 0
	never := x.AcceptedAt.IsZero()
	switch {
	case started && never && !back:
		c.bad("not started", id, "it is %v and was never accepted, and was started at %v", x.State, t.starts[0])
	case !never && !x.CancelledAt.IsZero() && x.AcceptedAt.After(x.CancelledAt) && !back:
		c.bad("not started", id, "accepted at %v after it was cancelled at %v", x.AcceptedAt, x.CancelledAt)
	}
	c.outcome(o, x, t)
	return c.output(ctx, o, x)
}

// nobodyKnew tells whether both records of a first start were lost before the second: the store's in a failover, the host's with its state
// directory.
func (c *checker) nobodyKnew(host queue.HostID, t *ran) bool {
	const comeback = 10 * time.Second // between what the store answered, and the start
	first, second := t.starts[0], t.starts[1]
	return slices.ContainsFunc(c.r.load.windows, func(w window) bool {
		return first.After(w.From) && first.Before(w.To.Add(comeback))
	}) && slices.ContainsFunc(c.struck[string(host)], func(st *strike) bool {
		return findKind(st.Kind).forgets && st.Until.After(first) && st.At.Before(second)
	})
}

// outcome holds the result against what the script did.
func (c *checker) outcome(o *order, x *queue.Execution, t *ran) {
	id, r := string(x.ID()), x.Result
	ended := len(t.ends) == 1
	switch x.State {
	case queue.Succeeded, queue.Failed:
		want := queue.Succeeded
		if o.Plan.Exit != 0 {
			want = queue.Failed
		}
		if x.State == queue.Failed && r.ExitCode == -1 && c.mayBreak(x) {
			return // it couldn't be started, or not written down
		}
		if x.State != want || r.ExitCode != o.Plan.Exit || !ended {
			c.bad("outcome", id, "%v with %d (%s) for a script that exits with %d; it came to its end: %v", x.State, r.ExitCode, r.Reason, o.Plan.Exit, ended)
		}
	case queue.TimedOut:
		if !o.Plan.Endless && time.Duration(o.Plan.Lines)*time.Second < 30*time.Second {
			c.bad("outcome", id, "timed out: %s", r.Reason)
		}
	case queue.Cancelled:
		if o.Cancel < 0 {
			c.bad("outcome", id, "cancelled by nobody: %s", r.Reason)
		}
	case queue.Expired:
		if !o.Pickup {
			c.bad("outcome", id, "expired: %s", r.Reason)
		}
	case queue.Rejected:
		if !c.mayBreak(x) {
			c.bad("outcome", id, "rejected: %s", r.Reason)
		}
	case queue.Lost:
		if !c.mayLose(x) {
			c.bad("lost for a reason", id, "lost (%s) between %v and %v, though nothing struck its host that loses scripts", r.Reason, x.AcceptedAt, x.FinishedAt)
		}
	}
}

// on gives the strikes on an execution's host while it was there.
func (c *checker) on(x *queue.Execution, f func(*strike) bool) bool {
	// A record that went back and came again tells later times; clocks are read at both ends.
	const margin = 2 * time.Second
	for _, host := range []string{"", string(x.Host)} {
		for _, st := range c.struck[host] {
			if st.Until.After(x.ReleasedAt.Add(-margin)) && st.At.Before(x.FinishedAt.Add(margin)) && f(st) {
				return true
			}
		}
	}
	return false
}

func (c *checker) mayBreak(x *queue.Execution) bool {
	return c.on(x, func(st *strike) bool { return findKind(st.Kind).breaks })
}

func (c *checker) mayLose(x *queue.Execution) bool {
	return c.on(x, func(st *strike) bool { return findKind(st.Kind).loses })
}

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

// strays looks for scripts of executions that nobody has.
func (c *checker) strays() {
	for _, id := range slices.Sorted(maps.Keys(c.ran)) {
		t := c.ran[id]
		if len(t.starts) > 1 {
			c.bad("started once", id, "started %d times, and the store doesn't have it", len(t.starts))
			continue
		}
		if len(t.starts) == 1 && !c.rolledBack(t.starts[0].Add(-time.Minute), time.Now()) {
			c.bad("started is stored", id, "started at %v, and the store doesn't have it", t.starts[0])
		}
	}
}

// derived checks what follows from the records: nothing is in anybody's hands, and reconciling finds nothing.
func (c *checker) derived(ctx context.Context) error {
	light, real := c.r.w.hosts()
	for _, h := range slices.Concat(light, real) {
		q, err := c.store.HostQueue(ctx, queue.HostID(h), 10)
		if err != nil {
			return err
		}
		if len(q) > 0 {
			c.bad("leases", h, "still has %v %s", q[0].State, q[0].ID())
		}
	}
	for range 2*len(c.jobs)/100 + 2 {
		repairs, err := c.store.Reconcile(ctx, 100)
		if err != nil {
			return err
		}
		for _, line := range repairs {
			c.bad("derived", "", "reconciling: %s", strings.TrimSpace(line))
		}
	}
	return nil
}
