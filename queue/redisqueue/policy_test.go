package redisqueue

import (
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func skipping(j *queue.Job) { j.Spec.Offline = queue.OfflineSkip }

// What was stored before there were policies, deadlines in service time and copies of targets is read as it was meant.
func TestStoredBefore(t *testing.T) {
	b := newShop(t, 2)
	socket, poll := b.targets[0], b.targets[1]
	p, k, rdb := partition(socket.Host), b.s.k, b.s.rdb
	id := b.released(func(*queue.Job) {}, socket)
	fixed, err := unpackFields(rdb.HGet(b.ctx, k.part(p, "d"), "s"+string(id)).Val())
	if err != nil || len(fixed) != 9 {
		t.Errorf("a job without policies has %d fixed fields (%v), not those of before", len(fixed), err)
	}
	b.must(rdb.HDel(b.ctx, k.job(id), "targets").Err())
	b.claim(socket, queue.TransportSocket)
	b.claim(poll, queue.TransportPoll)
	b.must(b.s.Alive(b.ctx, "gw", time.Minute))
	b.must(rdb.HDel(b.ctx, k.part(p, "gw"), "\x00gw").Err())
	b.change(k.part(partition(poll.Host), "own"), string(poll.Host), func(r row) row { return r[:oFlying] })
	if repairs, err := b.s.Reconcile(b.ctx, 10); len(repairs) != 0 || err != nil {
		t.Errorf("Reconcile: %q, %v", repairs, err)
	}
	b.want(b.released(skipping, b.targets...), "qq")
	b.ahead.Add(int64(61 * time.Second))
	b.want(b.released(skipping, b.targets...), "cc")
	if st, err := b.s.Job(b.ctx, id); err != nil || st.Counters[queue.Queued] != 1 {
		t.Errorf("a job of before: %+v, %v", st, err)
	}
}

// want fails the test unless the states of a job's executions are these.
func (b *shop) want(id queue.JobID, states string) {
	b.t.Helper()
	got, err := b.s.States(b.ctx, id)
	if err != nil || string(got) != states {
		b.t.Errorf("states of %s: %s, %v, want %s", id, got, err, states)
	}
}

// What a polling host reports leaves its deadline in service time as it was, by the short way, too.
func TestPollKeepsItsDeadline(t *testing.T) {
	b := newShop(t, 1)
	target := b.targets[0]
	_, err := b.s.Sweep(b.ctx, 10, queue.Retention{}) // the clock runs
	b.must(err)
	c := b.claim(target, queue.TransportPoll)
	b.released(func(*queue.Job) {}, target)
	own := func() row {
		r, err := unpackFields(b.s.rdb.HGet(b.ctx, b.s.k.part(partition(target.Host), "own"), string(target.Host)).Val())
		b.must(err)
		return r
	}
	d := b.lease(target.Host, c)[0]
	before := own().int(oUntil)
	acks, err := b.s.Record(b.ctx, queue.HostEvents{Host: target.Host, Incarnation: 1, Generation: "g", Events: []queue.Event{
		{Execution: d.Execution.ID(), Seq: 1, Kind: queue.EventAccepted, Token: d.Token, Position: 1},
		{Execution: d.Execution.ID(), Seq: 2, Kind: queue.EventStarted},
		{Execution: d.Execution.ID(), Seq: 3, Kind: queue.EventFinished, Outcome: queue.Succeeded}}})
	if err != nil || acks[0].Stored != 3 {
		t.Fatalf("Record: %+v, %v", acks, err)
	}
	if after := own(); before == 0 || after.int(oUntil) != before || len(after.row(oFlying)) != 0 {
		t.Errorf("own is %v, the deadline was %d", after, before)
	}
}

// Several outages within one deadline extend it by all of them.
func TestOutagesMakeNobodyOffline(t *testing.T) {
	b := newShop(t, 2)
	b.claim(b.targets[0], queue.TransportSocket)
	b.claim(b.targets[1], queue.TransportPoll)
	b.sweep(queue.Retention{})
	b.must(b.s.Alive(b.ctx, "gw", time.Minute))
	b.claim(b.targets[1], queue.TransportPoll)
	for range 3 { // of a minute that the service saw, it saw 45 s
		b.ahead.Add(int64(10 * time.Minute))
		b.sweep(queue.Retention{})
	}
	b.want(b.released(skipping, b.targets...), "qq")
	b.ahead.Add(int64(10 * time.Minute))
	b.sweep(queue.Retention{})
	b.ahead.Add(int64(time.Second))
	b.want(b.released(skipping, b.targets...), "cc")
}

// Retention leaves nothing of a scope: neither of its newest job, nor of one that it replaced.
func TestRetentionForgetsScopes(t *testing.T) {
	b := newShop(t, 150)
	keyed := func(j *queue.Job) { j.Spec.SupersedeKey = "k" }
	older, newer := b.released(keyed, b.targets...), b.released(keyed, b.targets...)
	_, err := b.s.Cancel(b.ctx, newer, nil, "bob")
	b.must(err)
	scope := "/" + (queue.Job{Spec: queue.Spec{SupersedeKey: "k"}}).SupersedeScope()
	remembered := func() (n int) {
		for p := range Partitions {
			names, err := b.s.rdb.HKeys(b.ctx, b.s.k.part(p, "d")).Result()
			b.must(err)
			for _, name := range names {
				if strings.HasSuffix(name, scope) {
					n++
				}
			}
		}
		return n
	}
	if n := remembered(); n != len(b.targets) {
		t.Fatalf("%d hosts remember the newest job, of %d", n, len(b.targets))
	}
	b.ahead.Store(int64(2 * time.Hour))
	if got := b.sweep(queue.Retention{RecordAge: time.Hour}); got.Deleted != 2 {
		t.Errorf("Sweep: %+v", got)
	}
	if n := remembered(); n != 0 {
		t.Errorf("%d hosts remember a job that is gone", n)
	}
	for _, id := range []queue.JobID{older, newer} {
		for _, left := range b.traces(id) {
			t.Errorf("left: %q", left)
		}
	}
}

// A purge while the host works leaves nothing that waits, and nothing that could still be accepted.
func TestPurgeWhileItWorks(t *testing.T) {
	b := newShop(t, 1)
	target := b.targets[0]
	const jobs = 350
	for range jobs {
		b.released(func(*queue.Job) {}, target)
	}
	c := b.claim(target, queue.TransportSocket)
	begun, stop, done := make(chan struct{}), make(chan struct{}), make(chan int)
	go func() {
		ran, after := 0, c.N
		defer func() { done <- ran }()
		for {
			l, err := b.s.Lease(b.ctx, queue.Fetch{Host: target.Host, Session: c.Session, Gateway: "gw", After: after, Max: 1})
			if err != nil {
				t.Errorf("Lease: %v", err)
				return
			}
			for _, d := range l.Deliveries {
				after = d.N
				acks, err := b.s.Record(b.ctx, queue.HostEvents{Host: target.Host, Incarnation: 1, Generation: "g", Events: []queue.Event{
					{Execution: d.Execution.ID(), Seq: 1, Kind: queue.EventAccepted, Token: d.Token, Position: 1},
					{Execution: d.Execution.ID(), Seq: 2, Kind: queue.EventFinished, Outcome: queue.Succeeded}}})
				if err != nil {
					t.Errorf("Record: %v", err)
					return
				}
				if acks[0].Verdict != queue.VerdictForget {
					if ran++; ran == 1 {
						close(begun)
					}
				}
			}
			select {
			case <-stop:
				if len(l.Deliveries) == 0 {
					return
				}
			default:
			}
		}
	}()
	<-begun
	sum, err := b.s.Purge(b.ctx, target.Host, false, "bob")
	b.must(err)
	xs, err := b.s.HostQueue(b.ctx, target.Host, 1000)
	b.must(err)
	for _, x := range xs {
		if x.State == queue.Queued || x.State == queue.Leased && x.CancelledAt.IsZero() {
			t.Errorf("after the purge: %+v", x)
		}
	}
	close(stop)
	ran := <-done
	if ran+sum.Cancelled+sum.Asked != jobs {
		t.Errorf("%d ran, %+v: not %d in all", ran, sum, jobs)
	}
	if n := b.s.rdb.ZCard(b.ctx, b.s.k.queue(partition(target.Host), target.Host)).Val(); n != 0 {
		t.Errorf("%d are left in the queue", n)
	}
	if repairs, err := b.s.Reconcile(b.ctx, 1000); len(repairs) != 0 || err != nil {
		t.Errorf("Reconcile: %q, %v", repairs, err)
	}
	t.Logf("%d ran meanwhile, %+v", ran, sum)
}

// A lease reads labels only for a job that checks them.
func TestRecheckReadsLabelsOnlyWhereItMust(t *testing.T) {
	b := newShop(t, 1)
	target := b.targets[0]
	p := partition(target.Host)
	c := b.claim(target, queue.TransportSocket)
	b.must(b.s.rdb.Do(b.ctx, "HSET", b.s.k.part(p, "hosts"), string(target.Host), "damaged").Err())
	b.want(b.released(func(*queue.Job) {}, target), "q")
	if got := b.lease(target.Host, c); len(got) != 1 {
		t.Errorf("leased %+v", got)
	}
}

// What is past its time expires, and isn't skipped, however much of it a sweep comes upon.
func TestExpiredRatherThanSkipped(t *testing.T) {
	b := newShop(t, 1)
	const jobs = sweepStep + 50
	at := time.Now().Add(time.Minute).Truncate(time.Microsecond)
	for i := range jobs { // the first that is due expires last
		b.released(func(j *queue.Job) {
			skipping(j)
			j.Spec.NotBefore = at.Add(time.Duration(i) * time.Millisecond)
			j.Spec.PickupTimeout = time.Minute - 2*time.Duration(i)*time.Millisecond
		}, b.targets...)
	}
	b.ahead.Add(int64(3 * time.Minute))
	if got, err := b.s.Sweep(b.ctx, 10*jobs, queue.Retention{}); err != nil || got.Expired != jobs || got.Skipped != 0 {
		t.Errorf("Sweep: %+v, %v", got, err)
	}
}

// At not_before, too, only what asked for it is skipped.
func TestDelayedWaitsForItsHost(t *testing.T) {
	b := newShop(t, 1)
	delayed := func(j *queue.Job) { j.Spec.NotBefore = time.Now().Add(time.Minute) }
	waits, skipped := b.released(delayed, b.targets...), b.released(func(j *queue.Job) { delayed(j); skipping(j) }, b.targets...)
	b.ahead.Add(int64(2 * time.Minute))
	b.sweep(queue.Retention{})
	b.want(waits, "q")
	b.want(skipped, "c")
	if repairs, err := b.s.Reconcile(b.ctx, 10); len(repairs) != 0 || err != nil {
		t.Errorf("Reconcile: %q, %v", repairs, err)
	}
}
