package queuetest

import (
	"maps"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// boundScenarios are about the end of an incarnation, and what was bound to it.
func boundScenarios() []scenario {
	ends := map[string]func(e *env){
		"enrolment anew": func(e *env) { e.reenroll("h") },
		"revocation":     func(e *env) { e.ok(e.s.Revoke(e.ctx, "h"), "Revoke") },
		"deletion":       func(e *env) { e.ok(e.s.DeleteHost(e.ctx, "h"), "DeleteHost") },
	}
	var all []scenario
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		end := ends[name]
		all = append(all, scenario{name: name + " ends the queue and the session", run: func(e *env) {
			a, ds := three(e)
			waiting := e.queued("h", func(s *queue.Spec) { s.Lane, s.NotBefore = "batch", e.now().Add(time.Hour) })
			end(e)
			same(e, "states", e.statesOf(ds...), "cxx")
			e.want(waiting, "h", queue.Cancelled)
			for _, d := range ds {
				if x := e.execution(d.Execution.Job, "h"); x.Result.Reason == "" || x.FinishedAt.IsZero() {
					e.Errorf("ended with %+v", x.Result)
				}
			}
			if _, err := e.s.Lease(e.ctx, a.fetch(10)); err == nil {
				e.Error("the old session still leases")
			}
			if _, err := e.s.Claim(e.ctx, a.claim); err == nil {
				e.Error("the old incarnation claims a session")
			}
			if _, err := a.tryRecord(a.accepted(ds[0])); err == nil {
				e.Error("the old incarnation reports")
			}
			same(e, "states", e.statesOf(ds...), "cxx")
			e.advance(48 * time.Hour)
			e.pass(20 * time.Second)
		}})
	}
	return append(all,
		scenario{name: "a revoked host stays out until it is replaced", run: func(e *env) {
			e.enroll("h")
			e.ok(e.s.Revoke(e.ctx, "h"), "Revoke")
			h := e.host("h")
			same(e, "Revoked, Online", words(h.Revoked, h.Presence.Online), "true false")
			n := queue.Enrollment{Host: "h", PublicKey: h.PublicKey, Token: "new"}
			_, err := e.s.Enroll(e.ctx, n)
			e.code(err, queue.Forbidden, "Enroll of a revoked host")
			n.Replace = true
			again, err := e.s.Enroll(e.ctx, n)
			e.ok(err, "Enroll with Replace")
			e.incarnations["h"] = again.Incarnation
			same(e, "Revoked, raised", words(again.Revoked, again.Incarnation > h.Incarnation), "false true")
			e.queued("h")
			e.agent("h").one()
		}},
		scenario{name: "a deleted host's incarnations aren't used again", run: func(e *env) {
			a, d, job := e.taken("h")
			before := e.host("h").Incarnation
			e.ok(e.s.DeleteHost(e.ctx, "h"), "DeleteHost")
			e.code(e.s.DeleteHost(e.ctx, "h"), "", "DeleteHost again")
			_, err := e.s.Host(e.ctx, "h")
			e.code(err, queue.NotFound, "Host that was deleted")
			e.code(e.s.Revoke(e.ctx, "h"), queue.NotFound, "Revoke of a deleted host")
			e.want(job, "h", queue.Cancelled) // its executions stay readable
			e.enroll("h")
			h := e.host("h")
			if h.Incarnation <= before || h.Presence.Session != 0 && h.Presence.Online {
				e.Errorf("enrolled again as %+v, was at incarnation %d", h, before)
			}
			_, err = a.tryRecord(a.accepted(d))
			e.code(err, queue.Superseded, "Record by the deleted host")
			next := e.agent("h")
			if next.session <= a.session {
				e.Errorf("session %d after %d", next.session, a.session)
			}
			next.none()
		}},
		scenario{name: "the same journal goes on after enrolment anew", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("2 go", a.accepted(d), a.started(d))
			a.claim.Incarnation = e.reenroll("h").Incarnation
			c := a.hello(inHand(holding(d, 4)))
			same(e, "verdicts", verdicts(c, d), "0: 2")
			a.says("4", a.output(d, 3, queue.Stdout, "x"), a.finished(d, 4, queue.Succeeded))
			if x := e.want(job, "h", queue.Lost); x.Late == nil {
				e.Error("its late result isn't kept")
			}
		}},
	)
}
