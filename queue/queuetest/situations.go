package queuetest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func (e *env) situations(job queue.JobID, hosts ...queue.HostID) []queue.Situation {
	e.Helper()
	ss, err := e.s.Situations(e.ctx, job, hosts)
	e.ok(err, "Situations of %s", job)
	if len(ss) != len(hosts) {
		e.Fatalf("Situations of %d hosts: %d", len(hosts), len(ss))
	}
	return ss
}

func (e *env) situation(job queue.JobID, host queue.HostID) queue.Situation {
	e.Helper()
	return e.situations(job, host)[0]
}

// lineOf tells what a situation says of others: "flying held state, ahead first", jobs by their place.
func lineOf(s queue.Situation, jobs ...queue.JobID) string {
	place := func(b queue.Blocker) string {
		if b == (queue.Blocker{}) {
			return "-"
		}
		return fmt.Sprint(slices.Index(jobs, b.Job), " ", b.State)
	}
	return fmt.Sprint(s.Flying, " ", place(s.Held), ", ", s.Ahead, " ", place(s.First))
}

func (e *env) wantLine(job queue.JobID, host queue.HostID, want string, jobs ...queue.JobID) queue.Situation {
	e.Helper()
	s := e.situation(job, host)
	if got := lineOf(s, jobs...); got != want {
		e.Errorf("situation of job %d: %q, want %q", slices.Index(jobs, job), got, want)
	}
	return s
}

// about compares moments on clocks that may run by themselves.
func about(got, want time.Time) bool { return got.Sub(want).Abs() < 10*time.Second }

func situationScenarios() []scenario {
	return []scenario{
		{name: "the execution and its host", run: func(e *env) {
			e.enroll("h", "never", "gone")
			hosts := []queue.HostID{"gone", "h", "never"}
			job := e.queuedAll(hosts)
			a := e.agent("h", polls(time.Minute))
			a.running()
			e.ok(e.s.DeleteHost(e.ctx, "gone"), "DeleteHost")
			for _, order := range [][]queue.HostID{{"gone", "h", "never"}, {"never", "gone", "h"}, {"h"}} {
				for i, s := range e.situations(job, order...) {
					if want := e.execution(job, order[i]); !reflect.DeepEqual(s.Execution, want) {
						e.Errorf("execution %+v, want %+v", s.Execution, want)
					}
					want := queue.Host{ID: "gone"}
					if order[i] != "gone" {
						want = e.host(order[i])
					}
					if !reflect.DeepEqual(s.Host, want) {
						e.Errorf("host %+v, want %+v", s.Host, want)
					}
				}
			}
		}},
		{name: "what holds the slots, and what is ahead", run: func(e *env) {
			e.enroll("h", "other")
			e.queued("other")
			jobs := []queue.JobID{e.queued("h"), e.queued("h"), e.queued("h"), e.queued("h"), e.queued("h", priority(5)), e.queued("h", lane("batch"))}
			a := e.agent("h", slots(map[queue.Lane]int{"default": 2, "batch": 0}))
			e.wantLine(jobs[0], "h", "0 -, 1 4 queued", jobs...)
			e.wantLine(jobs[4], "h", "0 -, 0 -", jobs...)
			same(e, "leased", placed(a.lease(1).Deliveries, jobs...), "4")
			since := e.execution(jobs[4], "h").LeasedAt
			e.advance(2 * time.Second)
			ds := a.take(100)
			same(e, "leased", placed(ds, jobs...), "4 0")
			e.wantLine(jobs[0], "h", "1 4 leased, 0 -", jobs...)
			e.wantLine(jobs[4], "h", "1 0 leased, 0 -", jobs...)
			e.wantLine(jobs[1], "h", "2 4 leased, 0 -", jobs...)
			if s := e.wantLine(jobs[3], "h", "2 4 leased, 2 1 queued", jobs...); !s.Held.Since.Equal(since) || !s.First.Since.Equal(e.execution(jobs[1], "h").ReleasedAt) {
				e.Errorf("behind %+v (leased %v), first %+v", s.Held, since, s.First)
			}
			e.wantLine(jobs[5], "h", "0 -, 0 -", jobs...)
			e.advance(2 * time.Second)
			a.says("1 go", a.accepted(ds[0]))
			if s := e.wantLine(jobs[1], "h", "2 4 accepted, 0 -", jobs...); !s.Held.Since.Equal(e.execution(jobs[4], "h").AcceptedAt) || !s.Held.Since.After(since) {
				e.Errorf("behind %+v", s.Held)
			}
			e.advance(2 * time.Second)
			a.says("2", a.started(ds[0]))
			if s := e.wantLine(jobs[1], "h", "2 4 running, 0 -", jobs...); !s.Held.Since.Equal(e.execution(jobs[4], "h").StartedAt) {
				e.Errorf("behind %+v", s.Held)
			}
			a.finish(ds[0], 3)
			e.wantLine(jobs[1], "h", "1 0 leased, 0 -", jobs...)
			e.wantLine(jobs[4], "h", "1 0 leased, 0 -", jobs...) // ended
		}},
		{name: "planned, delayed, past its time", run: func(e *env) {
			e.enroll("h")
			a := e.agent("h")
			at := e.now().Add(time.Minute)
			busy := e.queued("h")
			a.one()
			jobs := []queue.JobID{
				busy, e.queued("h", pickup(2*time.Minute)), e.queued("h", priority(5), notBefore(at)), e.queued("h", notBefore(at)),
				e.submit([]queue.HostID{"h"}), e.queued("h"),
			}
			e.wantLine(jobs[4], "h", "1 0 leased, 0 -", jobs...)
			e.wantLine(jobs[2], "h", "1 0 leased, 0 -", jobs...)
			e.wantLine(jobs[5], "h", "1 0 leased, 1 1 queued", jobs...)
			e.advance(61 * time.Second)
			for range 2 { // before and after it is swept
				e.wantLine(jobs[5], "h", "1 0 leased, 3 2 queued", jobs...)
				e.wantLine(jobs[3], "h", "1 0 leased, 2 2 queued", jobs...)
				e.wantLine(jobs[2], "h", "1 0 leased, 0 -", jobs...)
				e.wantLine(jobs[1], "h", "1 0 leased, 1 2 queued", jobs...)
				e.sweep()
			}
			e.advance(60 * time.Second) // the lease stands still, the second is past its time
			e.wantLine(jobs[1], "h", "1 0 leased, 0 -", jobs...)
			e.wantLine(jobs[5], "h", "1 0 leased, 2 2 queued", jobs...)
		}},
		{name: "errors", run: func(e *env) {
			e.enroll("a", "b", "c")
			job := e.queuedAll([]queue.HostID{"a", "b"})
			try := func(want queue.Code, job queue.JobID, hosts ...queue.HostID) *queue.Error {
				e.Helper()
				_, err := e.s.Situations(e.ctx, job, hosts)
				e.code(err, want, "Situations of %v", hosts)
				qe, _ := err.(*queue.Error)
				return qe
			}
			try(queue.NotFound, queue.NewJobID(e.now()), "a")
			if qe := try(queue.NotFound, job, "a", "c", "b", "nobody"); qe != nil {
				same(e, "Items", qe.Items, []string{"c", "nobody"})
			}
			try(queue.Invalid, job)
			try(queue.Invalid, job, make([]queue.HostID, queue.MaxPage+1)...)
		}},
		{name: "many hosts", once: true, run: func(e *env) {
			hosts := e.many(queue.MaxPage)
			job := e.queuedAll(hosts)
			e.agent(hosts[500]).one()
			next := e.queuedAll(hosts)
			slices.Reverse(hosts)
			for i, s := range e.situations(next, hosts...) {
				want := "0 -, 1 0 queued"
				if i == queue.MaxPage-1-500 {
					want = "1 0 leased, 0 -"
				}
				if got := lineOf(s, job, next); s.Execution.Host != hosts[i] || s.Host.ID != hosts[i] || got != want {
					e.Fatalf("situation %d: %s of %s, %q, want %q", i, s.Execution.Host, s.Host.ID, got, want)
				}
			}
		}},
		{name: "more ahead than are counted", once: true, run: func(e *env) {
			e.enroll("h")
			oldest := e.queued("h")
			e.pile("h", queue.MaxAhead+20)
			last := e.queued("h")
			if s := e.situation(last, "h"); s.Ahead != queue.MaxAhead || s.First.Job != oldest {
				e.Errorf("%d ahead, first %+v, want %s", s.Ahead, s.First, oldest)
			}
		}},
		{name: "what it waits for", run: func(e *env) {
			e.enroll("h")
			jobs := []queue.JobID{e.queued("h"), e.queued("h"), e.queued("h")}
			why := func(i int, want queue.WaitCode) queue.Wait {
				e.Helper()
				j := e.counters(jobs[i])
				s := e.situation(jobs[i], "h")
				w, waits := s.Why(&j, e.now())
				if !waits || w.Code != want {
					e.Errorf("job %d waits (%v) for %q: %s; want %q", i, waits, w.Code, w.Text, want)
				}
				return w
			}
			why(0, queue.WaitNeverSeen)
			a := e.agent("h")
			why(0, queue.WaitOffline)
			e.alive("gw-1", time.Minute)
			why(0, queue.WaitDelivery)
			same(e, "first", why(1, queue.WaitAhead).Behind, jobs[0])
			d := a.one()
			why(0, queue.WaitAccepted)
			w := why(2, queue.WaitLane)
			same(e, "behind", words(w.Behind, w.Ahead), words(jobs[0], 1))
			a.says("1 go", a.accepted(d))
			why(0, queue.WaitStart)
			a.says("2", a.started(d))
			if w := why(0, queue.WaitEnd); !about(w.Until, e.now().Add(queue.DefaultRunTimeout)) {
				e.Errorf("runs until %v", w.Until)
			}
			e.cancel(jobs[0])
			why(0, queue.WaitCancel)
			a.says("3", a.finished(d, 3, queue.Cancelled))
			s, j := e.situation(jobs[0], "h"), e.counters(jobs[0])
			if w, waits := s.Why(&j, e.now()); waits {
				e.Errorf("ended, and waits for %+v", w)
			}
		}},
	}
}
