package redisqueue_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// Redis is stopped in the middle of the work, and goes on later: verbs end as Unavailable meanwhile, and all that
// hosts repeat lands once.
func TestStoppedAndContinued(t *testing.T) {
	srv := redistest.Start(t)
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL + "?read_timeout=500ms"}), 30, numbered)
	jobs := []queue.JobID{f.submit(), f.submit()}
	work := make(chan struct{})
	go func() {
		defer close(work)
		f.all(len(jobs))
	}()
	for range 2 {
		srv.Pause()
		ctx, cancel := context.WithTimeout(f.ctx, time.Second)
		n := f.job()
		_, _, err := f.s.Submit(ctx, n)
		cancel()
		if queue.CodeOf(err) != queue.Unavailable {
			t.Errorf("Submit while the server is stopped: %v", err)
		}
		srv.Resume()
		f.must(f.again(func() error { _, err := f.s.Job(f.ctx, jobs[0]); return err }))
	}
	<-work
	f.check(jobs...)
}

// A submit that Redis refuses in its middle, since its memory is used up, says so; nothing of it is to be seen,
// and nothing stays.
func TestOutOfMemoryInSubmit(t *testing.T) {
	srv := redistest.Start(t)
	c := new(clock)
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL, ClockOffset: c.offset}), 50, numbered)
	first := f.submit()
	rdb := srv.Client()
	defer rdb.Close()
	info, err := rdb.InfoMap(f.ctx, "memory").Result()
	f.must(err)
	used, err := strconv.ParseInt(info["Memory"]["used_memory"], 10, 64)
	f.must(err)
	// Three quarters are used: a job is taken in, and its script alone is more than what is left.
	f.must(rdb.ConfigSet(f.ctx, "maxmemory", strconv.FormatInt(used*4/3, 10)).Err())
	n := f.job()
	n.Script = []byte(strings.Repeat("# a line\n", queue.MaxScript/9))
	_, _, err = f.s.Submit(f.ctx, n)
	if queue.CodeOf(err) != queue.Unavailable || !strings.Contains(err.Error(), "maxmemory") || err.(*queue.Error).Retry < 10*time.Second {
		t.Fatalf("Submit: %v", err)
	}
	if _, err := f.s.Job(f.ctx, n.Job.ID); queue.CodeOf(err) != queue.NotFound {
		t.Errorf("Job: %v", err)
	}
	if jobs, _, err := f.s.ListJobs(f.ctx, "", 10); err != nil || len(jobs) != 1 || jobs[0].ID != first {
		t.Errorf("ListJobs: %v, %v", jobs, err)
	}
	f.must(rdb.ConfigSet(f.ctx, "maxmemory", "0").Err())
	f.swept(srv, c)
	f.all(1)
	f.check(first)
	// It may come again.
	_, created, err := f.s.Submit(f.ctx, n)
	if err != nil || !created {
		t.Errorf("Submit again: created %v, %v", created, err)
	}
}

// After a failover to a replica that lags, the store says what it has of each execution, and the hosts go on from
// there: what they had in hand, what had ended, what was delivered since.
func TestSentinelFailoverToLaggingReplica(t *testing.T) {
	t.Parallel()
	g := redistest.StartSentinel(t)
	f := newFleet(t, open(t, redisqueue.Options{URL: g.URL}), 3, numbered)
	ctx, cancel := context.WithCancel(f.ctx)
	hints := make(chan queue.Hint, 100)
	ended := make(chan error, 1)
	go func() { ended <- f.s.Subscribe(ctx, "gw", func(h queue.Hint) { hints <- h }) }()
	job := f.submit()
	running, done, fresh := f.lagging(job, 0), f.lagging(job, 1), f.lagging(job, 2)
	running.lease()
	running.record(1, 2) // accepted, output
	done.lease()
	done.record(1, 3)
	g.Replicated(f.ctx)
	var lost queue.JobID
	g.Lag(f.ctx, func() {
		running.record(3, 3)
		done.record(4, 4) // finished
		fresh.lease()
		fresh.record(1, 4)
		lost = f.submit()
	})
	for again := false; !again; {
		select {
		case h := <-hints:
			again = h.Again
		case <-f.ctx.Done():
			t.Fatal("nobody is told that the store may have gone back")
		}
	}
	f.must(f.again(func() error {
		_, err := f.s.Job(f.ctx, lost)
		if queue.CodeOf(err) != queue.NotFound {
			return err
		}
		return nil
	}))
	running.rejoin(queue.VerdictGo, 2)
	running.record(3, 4)
	done.rejoin(queue.VerdictGo, 3)
	done.record(4, 4)
	fresh.rejoin(queue.VerdictForget, 0) // its acceptance is unknown: it is delivered again, and told, not started
	fresh.lease()
	fresh.record(1, 4)
	f.check(job)
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

// lagging is a host with one execution, of whose events the store may lose some.
type lagging struct {
	f       *fleet
	target  queue.Target
	id      queue.ExecutionID
	session queue.Claimed
	token   string
}

func (f *fleet) lagging(job queue.JobID, host int) *lagging {
	f.t.Helper()
	h := &lagging{f: f, target: f.targets[host], id: queue.NewExecutionID(job, f.targets[host].Host)}
	h.session = f.claim(h.target)
	return h
}

func (h *lagging) lease() {
	h.f.t.Helper()
	for {
		var l queue.Fetched
		h.f.must(h.f.again(func() (err error) {
			l, err = h.f.s.Lease(h.f.ctx, queue.Fetch{Host: h.target.Host, Session: h.session.Session, Gateway: "gw", Max: 5, TTL: time.Hour})
			return err
		}))
		for _, d := range l.Deliveries {
			if d.Execution.ID() == h.id {
				h.token = d.Token
				return
			}
		}
		if h.f.ctx.Err() != nil {
			h.f.t.Fatalf("%s isn't delivered", h.id)
		}
	}
}

// record stores the events from..to: accepted, started, output, finished.
func (h *lagging) record(from, to int) {
	h.f.t.Helper()
	now := time.Now()
	all := []queue.Event{
		{Execution: h.id, Seq: 1, Kind: queue.EventAccepted, At: now, Token: h.token, Position: 1},
		{Execution: h.id, Seq: 2, Kind: queue.EventStarted, At: now},
		{Execution: h.id, Seq: 3, Kind: queue.EventOutput, At: now, Stream: queue.Stdout, Data: []byte("hello from " + string(h.target.Host) + "\n")},
		{Execution: h.id, Seq: 4, Kind: queue.EventFinished, At: now, Outcome: queue.Succeeded},
	}
	h.f.must(h.f.again(func() error {
		acks, err := h.f.s.Record(h.f.ctx, queue.HostEvents{Host: h.target.Host, Incarnation: h.target.Incarnation, Generation: "g", Events: all[from-1 : to]})
		if err == nil && acks[0].Stored != int64(to) {
			h.f.t.Fatalf("%s: events %d to %d: %+v", h.id, from, to, acks[0])
		}
		return err
	}))
}

// rejoin says hello with the execution in hand, ended, and hears what the store has of it.
func (h *lagging) rejoin(verdict queue.Verdict, stored int64) {
	h.f.t.Helper()
	h.f.must(h.f.again(func() (err error) {
		h.session, err = h.f.s.Claim(h.f.ctx, queue.Claim{Host: h.target.Host, Incarnation: h.target.Incarnation, Gateway: "gw", Transport: queue.TransportSocket,
			Generation: "g", Nonce: "n", Position: 1, InHand: []queue.InHand{{Execution: h.id, Token: h.token, Seq: 5}}})
		return err
	}))
	v := h.session.Verdicts
	if len(v) != 1 || v[0].Verdict != verdict || v[0].Stored != stored || verdict == queue.VerdictForget && v[0].Reason != queue.ReasonStaleToken {
		h.f.t.Fatalf("%s: the hello is answered %+v, want %s and %d", h.id, v, verdict, stored)
	}
}
