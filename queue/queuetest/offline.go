package queuetest

import (
	"time"

	"github.com/rexgate/rexgate/queue"
)

func skipOffline(s *queue.Spec) { s.Offline = queue.OfflineSkip }

func notBefore(at time.Time) func(*queue.Spec) { return func(s *queue.Spec) { s.NotBefore = at } }

func (e *env) alive(gateway string, ttl time.Duration) {
	e.Helper()
	e.ok(e.s.Alive(e.ctx, gateway, ttl), "Alive")
}

// polls makes a hello that of a host which polls, by a gateway that nobody knows to be alive.
func polls(due time.Duration) func(*queue.Claim) {
	return func(c *queue.Claim) { c.Transport, c.Due, c.Gateway = queue.TransportPoll, due, "gw-polls" }
}

// onAndOff makes hosts in each state of presence; the first two are online, for 15 s at least.
func (e *env) onAndOff() []queue.HostID {
	e.Helper()
	hosts := []queue.HostID{"live", "polls", "never", "dead", "gone", "overdue"}
	e.enroll(hosts...)
	e.agent("dead", func(c *queue.Claim) { c.Gateway = "gw-dead" })
	e.alive("gw-dead", time.Minute)
	e.agent("overdue", polls(time.Minute))
	e.pass(75 * time.Second)
	e.agent("live")
	e.agent("polls", polls(time.Minute))
	gone := e.agent("gone")
	e.ok(e.s.Release(e.ctx, "gone", gone.session), "Release")
	e.alive("gw-1", time.Minute)
	e.pass(30 * time.Second)
	return hosts
}

func (e *env) wantSkipped(job queue.JobID, hosts ...queue.HostID) {
	e.Helper()
	for _, h := range hosts {
		x := e.want(job, h, queue.Cancelled)
		if x.Result.Reason != queue.WhyOffline || x.Result.ExitCode != -1 || !x.CancelledAt.IsZero() {
			e.Errorf("%s was skipped with %+v, cancel asked for at %v", h, x.Result, x.CancelledAt)
		}
	}
}

func offlineScenarios() []scenario {
	return []scenario{
		{name: "skipped at its release", run: func(e *env) {
			hosts := e.onAndOff()
			job := e.submit(hosts, func(n *queue.NewJob) { skipOffline(&n.Job.Spec) })
			released, passed := 0, 0
			for done := false; !done; {
				x, err := e.s.Expand(e.ctx, job, "driver", 3)
				e.ok(err, "Expand")
				released, passed, done = released+x.Released, passed+x.Passed, x.Done
				if !done && x.Released+x.Passed == 0 {
					e.Fatal("Expand does nothing, and isn't done")
				}
			}
			same(e, "released and passed", words(released, passed), "2 4")
			e.want(job, "live", queue.Queued)
			e.want(job, "polls", queue.Queued)
			e.wantSkipped(job, hosts[2:]...)
			same(e, "counters", nonZero(e.counters(job).Counters), queue.Counters{queue.Queued: 2, queue.Cancelled: 4})
			waits := e.queuedAll(hosts)
			same(e, "states of one that waits", string(e.states(waits)), "qqqqqq")
			e.agent("never", slots(map[queue.Lane]int{"default": 9})).one() // which isn't what was skipped
		}},
		{name: "skipped everywhere", run: func(e *env) {
			job := e.queuedAll(e.many(3), skipOffline)
			if j := e.counters(job); j.FinishedAt.IsZero() {
				e.Errorf("skipped on all hosts, and not finished: %+v", j)
			}
			open, err := e.s.OpenJobs(e.ctx, 10)
			e.ok(err, "OpenJobs")
			same(e, "open jobs", len(open), 0)
		}},
		{name: "skipped at not_before", once: true, run: func(e *env) {
			at := e.now().Add(3 * time.Minute)
			hosts := e.onAndOff() // takes less than two minutes
			job := e.queuedAll(hosts, skipOffline, notBefore(at))
			same(e, "released whoever is offline", string(e.states(job)), "qqqqqq")
			same(e, "Swept before", e.sweep(), queue.Swept{})
			e.advance(at.Sub(e.now()) + time.Second) // 15 s of service time at most
			same(e, "Swept after", e.sweep(), queue.Swept{Due: 2, Skipped: 4})
			e.want(job, "live", queue.Queued)
			e.want(job, "polls", queue.Queued)
			e.wantSkipped(job, hosts[2:]...)
			same(e, "Swept again", e.sweep(), queue.Swept{})
		}},
		{name: "not_before in the past is none", run: func(e *env) {
			job := e.queuedAll(e.onAndOff(), skipOffline, notBefore(e.now().Add(-time.Hour)))
			same(e, "counters", nonZero(e.counters(job).Counters), queue.Counters{queue.Queued: 2, queue.Cancelled: 4})
		}},
		{name: "one that waits may come online before not_before", run: func(e *env) {
			e.enroll("h")
			at := e.now().Add(time.Minute)
			job := e.queued("h", skipOffline, notBefore(at))
			a := e.agent("h")
			e.advance(61 * time.Second)
			if d := a.one(); d.Execution.Job != job { // no sweep was needed
				e.Errorf("delivered %+v", d)
			}
		}},
		{name: "it waits as any other once it was due", run: func(e *env) {
			e.enroll("h", "later")
			for _, h := range []queue.HostID{"h", "later"} {
				e.agent(h)
			}
			e.alive("gw-1", time.Minute)
			at := e.now().Add(20 * time.Second)
			now, later := e.queued("h", skipOffline), e.queued("later", skipOffline, notBefore(at))
			a := e.agent("h")
			d := a.one() // and is not accepted
			e.pass(30 * time.Second)
			e.pass(2 * time.Minute)
			e.want(now, "h", queue.Queued)
			e.want(later, "later", queue.Queued)
			a.says("0 forget stale_token", a.accepted(d))
			e.agent("h").one()
			e.agent("later").one()
		}},
		{name: "expired before it could be skipped", once: true, run: func(e *env) {
			e.enroll("h")
			job := e.queued("h", skipOffline, notBefore(e.now().Add(time.Minute)), pickup(time.Minute))
			e.advance(3 * time.Minute)
			same(e, "Swept", e.sweep(), queue.Swept{Expired: 1})
			e.want(job, "h", queue.Expired)
		}},
		{name: "the next poll is in time", run: func(e *env) {
			e.enroll("h")
			a := e.agent("h", polls(time.Minute))
			e.pass(45 * time.Second)
			a.none()
			e.pass(30 * time.Second)
			e.want(e.queued("h", skipOffline), "h", queue.Queued)
			e.pass(45 * time.Second)
			e.wantSkipped(e.queued("h", skipOffline), "h")
			a.one() // late, and online by it
			e.want(e.queued("h", skipOffline), "h", queue.Queued)
		}},
		{name: "an outage makes nobody offline", once: true, run: func(e *env) {
			hosts := []queue.HostID{"s", "p"}
			e.enroll(hosts...)
			e.agent("s")
			e.agent("p", polls(time.Minute))
			e.alive("gw-1", time.Minute)
			delayed := e.queuedAll(hosts, skipOffline, notBefore(e.now().Add(30*time.Minute)))
			e.advance(time.Hour) // in which nothing sweeps, and nobody can say that it lives
			same(e, "released after it", string(e.states(e.queuedAll(hosts, skipOffline))), "qq")
			same(e, "Swept after it", e.sweep(), queue.Swept{Due: 2})
			same(e, "not_before in it", string(e.states(delayed)), "qq")
			same(e, "released later", string(e.states(e.queuedAll(hosts, skipOffline))), "qq")
			e.pass(75 * time.Second) // in which they could have
			e.wantSkipped(e.queuedAll(hosts, skipOffline), hosts...)
		}},
		{name: "a clock that went back makes nobody online", once: true, run: func(e *env) {
			hosts := []queue.HostID{"s", "p"}
			e.enroll(hosts...)
			e.agent("s")
			e.agent("p", polls(time.Minute))
			e.alive("gw-1", time.Minute)
			e.advance(-time.Hour)
			e.sweep()
			e.pass(75 * time.Second)
			e.wantSkipped(e.queuedAll(hosts, skipOffline), hosts...)
		}},
	}
}
