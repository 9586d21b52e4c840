package queuetest

import (
	"slices"

	"github.com/rexgate/rexgate/queue"
)

func listingScenarios() []scenario {
	return []scenario{
		{name: "jobs, while others come", run: func(e *env) {
			e.enroll("h")
			var want []queue.JobID // newest first
			for range 7 {
				want = append([]queue.JobID{e.submit([]queue.HostID{"h"})}, want...)
			}
			var got []queue.JobID
			for after := ""; ; {
				page, next, err := e.s.ListJobs(e.ctx, after, 3)
				e.ok(err, "ListJobs")
				for _, j := range page {
					got = append(got, j.ID)
				}
				if len(page) > 3 || next != "" && len(page) == 0 {
					e.Fatalf("ListJobs of 3: %d jobs, next %q", len(page), next)
				}
				if after = next; next == "" {
					break
				}
				e.submit([]queue.HostID{"h"})
			}
			same(e, "jobs", got, want)
		}},
		{name: "no jobs", run: func(e *env) {
			page, next, err := e.s.ListJobs(e.ctx, "", 10)
			e.ok(err, "ListJobs")
			same(e, "jobs", words(len(page), next == ""), "0 true")
		}},
		{name: "executions by ordinal and state", run: func(e *env) {
			hosts := e.many(9)
			job := e.submit(hosts)
			e.cancel(job, hosts[1], hosts[4], hosts[7])
			var got []queue.HostID
			for after, last := "", -1; ; {
				page, next, err := e.s.Executions(e.ctx, queue.ExecutionQuery{Job: job, After: after, Limit: 2})
				e.ok(err, "Executions")
				for _, x := range page {
					if x.Ordinal <= last {
						e.Errorf("ordinal %d after %d", x.Ordinal, last)
					}
					last = x.Ordinal
					got = append(got, x.Host)
				}
				if after = next; next == "" {
					break
				}
			}
			slices.Sort(got)
			same(e, "hosts", got, hosts)
			for _, q := range []struct {
				states []queue.State
				n      int
			}{{[]queue.State{queue.Cancelled}, 3}, {[]queue.State{queue.Planned}, 6}, {[]queue.State{queue.Cancelled, queue.Planned}, 9}, {[]queue.State{queue.Lost}, 0}} {
				n := 0
				for after := ""; ; {
					page, next, err := e.s.Executions(e.ctx, queue.ExecutionQuery{Job: job, States: q.states, After: after, Limit: 2})
					e.ok(err, "Executions")
					for _, x := range page {
						if !slices.Contains(q.states, x.State) {
							e.Errorf("%v is listed for %v", x.State, q.states)
						}
					}
					n += len(page)
					if after = next; next == "" {
						break
					}
				}
				same(e, words("executions in", q.states), n, q.n)
			}
		}},
		{name: "targets by page", run: func(e *env) {
			hosts := e.many(7)
			job := e.submit(hosts)
			var got []queue.HostID
			for from := 0; from < 7; from += 3 {
				page, err := e.s.Targets(e.ctx, job, from, 3)
				e.ok(err, "Targets")
				got = append(got, page...)
			}
			for i, h := range got {
				same(e, "ordinal of "+string(h), e.execution(job, h).Ordinal, i)
			}
			slices.Sort(got)
			same(e, "targets", got, hosts)
			page, err := e.s.Targets(e.ctx, job, 7, 3)
			e.ok(err, "Targets beyond the last")
			same(e, "targets beyond the last", len(page), 0)
		}},
		{name: "state bytes follow", run: func(e *env) {
			a, d, job := e.taken("h")
			same(e, "bytes", string(e.states(job)), "l")
			a.says("1 go", a.accepted(d))
			same(e, "bytes", string(e.states(job)), "a")
			a.says("2", a.started(d))
			same(e, "bytes", string(e.states(job)), "r")
			a.finish(d, 3)
			same(e, "bytes", string(e.states(job)), "s")
		}},
		{name: "what isn't there", run: func(e *env) {
			e.enroll("a", "b")
			job, none := e.submit([]queue.HostID{"a"}), queue.NewJobID(e.now())
			for name, read := range map[string]func() error{
				"Job":    func() error { _, err := e.s.Job(e.ctx, none); return err },
				"Script": func() error { _, err := e.s.Script(e.ctx, none); return err },
				"Executions": func() error {
					_, _, err := e.s.Executions(e.ctx, queue.ExecutionQuery{Job: none, Limit: 1})
					return err
				},
				"Execution":            func() error { _, err := e.s.Execution(e.ctx, none, "a"); return err },
				"Execution of no host": func() error { _, err := e.s.Execution(e.ctx, job, "b"); return err },
				"States":               func() error { _, err := e.s.States(e.ctx, none); return err },
				"Targets":              func() error { _, err := e.s.Targets(e.ctx, none, 0, 1); return err },
				"Output": func() error {
					_, err := e.s.Output(e.ctx, queue.OutputQuery{Job: job, Host: "b", Limit: 1})
					return err
				},
			} {
				e.code(read(), queue.NotFound, "%s", name)
			}
			xs, err := e.s.HostQueue(e.ctx, "nobody", 10)
			e.ok(err, "HostQueue of an unknown host")
			same(e, "its queue", len(xs), 0)
		}},
		{name: "bad queries", run: func(e *env) {
			e.enroll("a")
			job := e.submit([]queue.HostID{"a"})
			for name, read := range map[string]func() error{
				"ListJobs of none": func() error { _, _, err := e.s.ListJobs(e.ctx, "", 0); return err },
				"Executions of too many": func() error {
					_, _, err := e.s.Executions(e.ctx, queue.ExecutionQuery{Job: job, Limit: 1001})
					return err
				},
				"Executions after junk": func() error {
					_, _, err := e.s.Executions(e.ctx, queue.ExecutionQuery{Job: job, After: "ju;nk", Limit: 1})
					return err
				},
				"ListHosts of none": func() error { _, _, err := e.s.ListHosts(e.ctx, queue.HostQuery{}); return err },
				"Output of none":    func() error { _, err := e.s.Output(e.ctx, queue.OutputQuery{Job: job, Host: "a"}); return err },
				"Output before its beginning": func() error {
					_, err := e.s.Output(e.ctx, queue.OutputQuery{Job: job, Host: "a", Offset: -1, Limit: 1})
					return err
				},
			} {
				e.code(read(), queue.Invalid, "%s", name)
			}
		}},
		{name: "HostQueue has a limit", run: func(e *env) {
			e.enroll("h")
			for range 4 {
				e.queued("h")
			}
			xs, err := e.s.HostQueue(e.ctx, "h", 3)
			e.ok(err, "HostQueue")
			same(e, "executions", len(xs), 3)
		}},
	}
}
