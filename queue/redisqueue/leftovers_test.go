package redisqueue

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// shop is a store with some hosts, and a clock that can be moved.
type shop struct {
	t       *testing.T
	ctx     context.Context
	s       *Store
	ahead   atomic.Int64
	targets []queue.Target
}

func newShop(t *testing.T, hosts int) *shop {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	b := &shop{t: t, ctx: ctx}
	s, err := Open(ctx, Options{URL: redistest.Start(t).URL, ClockOffset: func() time.Duration { return time.Duration(b.ahead.Load()) }})
	b.must(err)
	t.Cleanup(func() { _ = s.Close() })
	b.s = s
	for i := range hosts {
		h, err := s.Enroll(ctx, queue.Enrollment{Host: queue.HostID(fmt.Sprintf("h%d", i)), Token: "t"})
		b.must(err)
		b.targets = append(b.targets, queue.Target{Host: h.ID, Incarnation: h.Incarnation})
	}
	return b
}

func (b *shop) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *shop) job() queue.NewJob {
	j := queue.Job{ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults()}
	return queue.NewJob{Job: j, Script: []byte("true"), Targets: b.targets, IdempotencyKey: string(j.ID), Digest: "d"}
}

func (b *shop) sweep(r queue.Retention) queue.Swept {
	b.t.Helper()
	var sum queue.Swept
	for more := true; more; {
		s, err := b.s.Sweep(b.ctx, 50, r)
		b.must(err)
		sum.Deleted += s.Deleted
		more = s.More
	}
	return sum
}

// traces lists every key and field that names a job.
func (b *shop) traces(id queue.JobID) []string {
	b.t.Helper()
	var found []string
	rdb := b.s.rdb
	keys, err := rdb.Keys(b.ctx, "*").Result()
	b.must(err)
	for _, key := range keys {
		if strings.Contains(key, string(id)) {
			found = append(found, key)
		}
		var members []string
		kind, err := rdb.Type(b.ctx, key).Result()
		b.must(err)
		switch kind {
		case "hash":
			members, err = rdb.HKeys(b.ctx, key).Result()
		case "zset":
			members, err = rdb.ZRange(b.ctx, key, 0, -1).Result()
		}
		b.must(err)
		for _, m := range members {
			if strings.Contains(m, string(id)) {
				found = append(found, key+" "+m)
			}
		}
	}
	return found
}

// A job that retention takes leaves nothing.
func TestRetentionLeavesNothing(t *testing.T) {
	b := newShop(t, 300)
	n := b.job()
	_, _, err := b.s.Submit(b.ctx, n)
	b.must(err)
	for done := false; !done; {
		x, err := b.s.Expand(b.ctx, n.Job.ID, "driver", 1000)
		b.must(err)
		done = x.Done
	}
	big := strings.Repeat("x", queue.MaxChunk)
	for i, target := range b.targets[:20] {
		c, err := b.s.Claim(b.ctx, queue.Claim{Host: target.Host, Incarnation: 1, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g"})
		b.must(err)
		l, err := b.s.Lease(b.ctx, queue.Fetch{Host: target.Host, Session: c.Session, Gateway: "gw", Max: 1})
		b.must(err)
		id := n.Job.ID
		x := queue.NewExecutionID(id, target.Host)
		events := []queue.Event{{Execution: x, Seq: 1, Kind: queue.EventAccepted, Token: l.Deliveries[0].Token, Position: 1}}
		for k := range int64(i) {
			events = append(events, queue.Event{Execution: x, Seq: 2 + k, Kind: queue.EventOutput, Stream: queue.Stdout, Data: []byte(big)})
		}
		events = append(events, queue.Event{Execution: x, Seq: int64(2 + i), Kind: queue.EventFinished, Outcome: queue.Failed})
		_, err = b.s.Record(b.ctx, queue.HostEvents{Host: target.Host, Incarnation: 1, Generation: "g", Events: events})
		b.must(err)
	}
	_, err = b.s.Cancel(b.ctx, n.Job.ID, nil, "bob")
	b.must(err)
	if len(b.traces(n.Job.ID)) == 0 {
		t.Fatal("traces finds nothing of a job that is there")
	}
	b.ahead.Store(int64(2 * time.Hour))
	if got := b.sweep(queue.Retention{RecordAge: time.Hour}); got.Deleted != 1 {
		t.Errorf("Sweep: %+v", got)
	}
	for _, left := range b.traces(n.Job.ID) {
		t.Errorf("left: %q", left)
	}
	if v := b.s.rdb.HGetAll(b.ctx, b.s.k.jobs("totals")).Val(); v["out"] != "0" || v["rec"] != "0" {
		t.Errorf("totals of nothing: %v", v)
	}
	// The same id and key can be used again.
	if _, created, err := b.s.Submit(b.ctx, n); err != nil || !created {
		t.Errorf("Submit anew: %v %v", created, err)
	}
}

// A submit whose caller died half-way leaves nothing for long, and doesn't keep
// the same job from being submitted.
func TestSubmitCut(t *testing.T) {
	b := newShop(t, 40)
	cut := func(n queue.NewJob) *submission {
		t.Helper()
		sub := &submission{s: b.s, n: n, nonce: "dead", idem: "key"}
		there, err := sub.begin(b.ctx)
		b.must(err)
		if there != nil {
			t.Fatal("the job is there")
		}
		b.must(sub.prepare(b.ctx))
		return sub
	}
	n := b.job()
	sub := cut(n)
	if _, err := b.s.Job(b.ctx, n.Job.ID); queue.CodeOf(err) != queue.NotFound {
		t.Errorf("Job before the commit: %v", err)
	}
	if jobs, _, err := b.s.ListJobs(b.ctx, "", 10); len(jobs) != 0 || err != nil {
		t.Errorf("listed before the commit: %v, %v", jobs, err)
	}

	// A repeat waits for the one that is under way, and takes over when that has had its time.
	short, cancel := context.WithTimeout(b.ctx, 100*time.Millisecond)
	defer cancel()
	if _, _, err := b.s.Submit(short, n); queue.CodeOf(err) != queue.Unavailable {
		t.Errorf("Submit beside another: %v", err)
	}
	b.ahead.Add(int64(submitTimeout + time.Second))
	j, created, err := b.s.Submit(b.ctx, n)
	if err != nil || !created {
		t.Fatalf("Submit after a cut one: %v, %v", created, err)
	}
	// The first one wakes up: nothing of it has an effect.
	if err := sub.prepare(b.ctx); err != nil {
		t.Errorf("a late prepare: %v", err)
	}
	if there, err := sub.commit(b.ctx); err != nil || there == nil {
		t.Errorf("a late commit: %v, %v", there, err)
	}
	st, err := b.s.Job(b.ctx, n.Job.ID)
	b.must(err)
	if !st.CreatedAt.Equal(j.CreatedAt) || st.Counters[queue.Planned] != len(b.targets) {
		t.Errorf("after a late commit: %+v", st)
	}

	// One that nobody repeats is cleared away.
	other := b.job()
	cut(other)
	b.ahead.Add(int64(abandoned + time.Second))
	b.sweep(queue.Retention{}) // it is given up
	b.sweep(queue.Retention{})
	for _, left := range b.traces(other.Job.ID) {
		t.Errorf("left: %q", left)
	}
	repairs, err := b.s.Reconcile(b.ctx, 10)
	if len(repairs) != 0 || err != nil {
		t.Errorf("Reconcile: %v %v", repairs, err)
	}
}

// A host that has very many executions in hand reports, and loses, all of them at
// once.
func TestVeryManyAtOnce(t *testing.T) {
	b := newShop(t, 1)
	host, slots := b.targets[0].Host, map[queue.Lane]int{}
	const lanes, each = 16, 64
	var jobs []queue.JobID
	for l := range lanes {
		lane := queue.Lane(fmt.Sprintf("lane-%d", l))
		slots[lane] = each
		for range each {
			n := b.job()
			n.Job.Spec.Lane = lane
			_, _, err := b.s.Submit(b.ctx, n)
			b.must(err)
			_, err = b.s.Expand(b.ctx, n.Job.ID, "driver", 1)
			b.must(err)
			jobs = append(jobs, n.Job.ID)
		}
	}
	claim := queue.Claim{Host: host, Incarnation: 1, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g", Position: 9, Slots: slots}
	c, err := b.s.Claim(b.ctx, claim)
	b.must(err)
	l, err := b.s.Lease(b.ctx, queue.Fetch{Host: host, Session: c.Session, Gateway: "gw", After: c.N, Max: 10_000})
	b.must(err)
	if len(l.Deliveries) != lanes*each || l.More {
		t.Fatalf("%d deliveries, more %v", len(l.Deliveries), l.More)
	}
	report := func(seq int64, kind queue.EventKind) {
		t.Helper()
		var events []queue.Event
		for _, d := range l.Deliveries {
			events = append(events, queue.Event{Execution: d.Execution.ID(), Seq: seq, Kind: kind, Token: d.Token, Position: 1})
		}
		acks, err := b.s.Record(b.ctx, queue.HostEvents{Host: host, Incarnation: 1, Generation: "g", Events: events})
		b.must(err)
		for i, a := range acks {
			if a.Stored != seq || a.Execution != events[i].Execution {
				t.Fatalf("ack %+v of event %d of %s", a, seq, events[i].Execution)
			}
		}
	}
	report(1, queue.EventAccepted)
	report(2, queue.EventStarted)
	c, err = b.s.Claim(b.ctx, claim)
	if err != nil || c.Lost != lanes*each {
		t.Errorf("Claim with nothing in hand: %+v, %v", c, err)
	}
	for _, id := range jobs {
		if j, err := b.s.Job(b.ctx, id); err != nil || j.Counters[queue.Lost] != 1 {
			t.Fatalf("job %s: %v, %v", id, j.Counters, err)
		}
	}
	if repairs, err := b.s.Reconcile(b.ctx, 2000); len(repairs) != 0 || err != nil {
		t.Errorf("Reconcile: %q, %v", repairs, err)
	}
}

// A queue longer than a page is served in order, across lanes and slots.
func TestLongQueue(t *testing.T) {
	b := newShop(t, 1)
	const each = 90
	for i := range 3 * each {
		n := b.job()
		n.Job.Spec.Lane = []queue.Lane{"alpha", "default", "zeta"}[i%3]
		_, _, err := b.s.Submit(b.ctx, n)
		b.must(err)
		_, err = b.s.Expand(b.ctx, n.Job.ID, "driver", 1)
		b.must(err)
	}
	host := b.targets[0].Host
	c, err := b.s.Claim(b.ctx, queue.Claim{Host: host, Incarnation: 1, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g",
		Slots: map[queue.Lane]int{"alpha": 0, "default": 60, "zeta": 60}})
	b.must(err)
	var got []queue.Delivery
	for range 5 {
		l, err := b.s.Lease(b.ctx, queue.Fetch{Host: host, Session: c.Session, Gateway: "gw", After: c.N + int64(len(got)), Max: 50})
		b.must(err)
		got = append(got, l.Deliveries...)
		if want := len(got) < 120; l.More != want {
			t.Errorf("after %d: More %v", len(got), l.More)
		}
		if l.InHand != len(got) {
			t.Errorf("in hand %d of %d", l.InHand, len(got))
		}
	}
	if len(got) != 120 {
		t.Fatalf("%d deliveries, want 60 of each lane with slots", len(got))
	}
	for i, d := range got {
		if want := []queue.Lane{"default", "zeta"}[i/60]; d.Execution.Lane != want || d.N != c.N+int64(i)+1 {
			t.Fatalf("delivery %d: lane %s, number %d", i, d.Execution.Lane, d.N)
		}
		if i%60 > 0 && got[i-1].Execution.Job > d.Execution.Job {
			t.Fatalf("delivery %d is older than the one before", i)
		}
	}
	xs, err := b.s.HostQueue(b.ctx, host, 1000)
	if err != nil || len(xs) != 3*each {
		t.Errorf("HostQueue: %d, %v", len(xs), err)
	}
	if ready, err := b.s.Ready(b.ctx, "gw", 10); len(ready) != 0 || err != nil {
		t.Errorf("ready without a free slot: %v, %v", ready, err)
	}
	// Too much for one script: a sweep ends the rest.
	b.must(b.s.Revoke(b.ctx, host))
	b.sweep(queue.Retention{})
	if xs, err = b.s.HostQueue(b.ctx, host, 1000); len(xs) != 0 || err != nil {
		t.Errorf("HostQueue of a revoked host: %d, %v", len(xs), err)
	}
}
