package queuetest

import (
	"time"

	"github.com/rexgate/rexgate/queue"
)

func duplicateScenarios() []scenario {
	alive := func(e *env) { e.ok(e.s.Alive(e.ctx, "gw-1", time.Hour), "Alive") }
	claim := func(e *env, a *agent, want queue.Code) {
		e.Helper()
		c, err := e.s.Claim(e.ctx, a.claim)
		e.code(err, want, "Claim by %s of %s", a.claim.Nonce, a.claim.Generation)
		if err == nil {
			a.session, a.n = c.Session, c.N
		}
	}
	// marked: nobody gets work until it is resolved, then the next claim wins.
	marked := func(e *env, owner, other *agent) {
		e.Helper()
		if e.host("h").Presence.DuplicateSince.IsZero() {
			e.Error("the host isn't marked as duplicate")
		}
		_, err := e.s.Lease(e.ctx, owner.fetch(10))
		e.code(err, queue.Duplicate, "Lease by the owner")
		claim(e, owner, queue.Duplicate)
		claim(e, other, queue.Duplicate)
		e.ok(e.s.ResolveDuplicate(e.ctx, "h"), "ResolveDuplicate")
		if since := e.host("h").Presence.DuplicateSince; !since.IsZero() {
			e.Errorf("resolved, and duplicate since %v", since)
		}
		claim(e, other, "")
		other.one()
		_, err = e.s.Lease(e.ctx, owner.fetch(10))
		e.code(err, queue.Superseded, "Lease by the owner before")
	}
	return []scenario{
		{name: "another generation while the owner is online", run: func(e *env) {
			e.enroll("h")
			alive(e)
			owner, other := e.agent("h"), e.process("h")
			e.queued("h")
			other.claim.Generation = "gen-2"
			claim(e, other, queue.Duplicate)
			marked(e, owner, other)
		}},
		{name: "reports go on", run: func(e *env) {
			a, d, job := e.taken("h")
			alive(e)
			other := e.process("h")
			other.claim.Generation = "gen-2"
			a.says("1 go", a.accepted(d))
			claim(e, other, queue.Duplicate)
			a.says("3", a.started(d), a.finished(d, 3, queue.Succeeded))
			e.want(job, "h", queue.Succeeded)
		}},
		{name: "another generation while the owner is away", run: func(e *env) {
			e.enroll("h")
			e.queued("h")
			e.agent("h")
			other := e.process("h")
			other.claim.Generation = "gen-2"
			claim(e, other, "") // its gateway isn't alive
			other.one()
		}},
		{name: "another generation after a release", run: func(e *env) {
			e.enroll("h")
			alive(e)
			e.queued("h")
			a := e.agent("h")
			e.ok(e.s.Release(e.ctx, "h", a.session), "Release")
			other := e.process("h")
			other.claim.Generation = "gen-2"
			claim(e, other, "")
			other.one()
		}},
		{name: "another generation while the owner polls", run: func(e *env) {
			e.enroll("h")
			owner := e.agent("h", func(c *queue.Claim) { c.Transport, c.Due = queue.TransportPoll, time.Minute })
			other := e.process("h")
			other.claim.Generation = "gen-2"
			e.queued("h")
			claim(e, other, queue.Duplicate)
			marked(e, owner, other)
		}},
		{name: "a superseded process comes back", run: func(e *env) {
			e.enroll("h")
			alive(e)
			e.queued("h")
			first := e.agent("h")
			second := e.agent("h")
			second.hello() // itself again, by another transport
			e.advance(queue.HelloTransit + time.Second)
			claim(e, first, queue.Duplicate)
			marked(e, second, first)
		}},
		{name: "a hello of a process that was restarted meanwhile", run: func(e *env) {
			e.enroll("h")
			alive(e)
			e.queued("h")
			first := e.agent("h")
			second := e.agent("h")
			e.advance(queue.HelloTransit - time.Second)
			claim(e, first, queue.Superseded)
			if since := e.host("h").Presence.DuplicateSince; !since.IsZero() {
				e.Errorf("duplicate since %v, by a hello that was late", since)
			}
			second.one() // it still has the session
			e.advance(2 * time.Second)
			claim(e, first, queue.Duplicate) // refusing it doesn't begin the time anew
		}},
		{name: "a restarted process is no duplicate", run: func(e *env) {
			e.enroll("h")
			alive(e)
			e.queued("h")
			for range 5 {
				e.agent("h")
			}
			e.agent("h").one()
		}},
		{name: "another generation forgets the processes of the one before", run: func(e *env) {
			e.enroll("h")
			first := e.agent("h")
			e.agent("h", func(c *queue.Claim) { c.Generation = "gen-2" })
			claim(e, first, "") // nobody is online: it isn't known to be another machine
		}},
		{name: "enrolment anew resolves", run: func(e *env) {
			e.enroll("h")
			alive(e)
			owner, other := e.agent("h"), e.process("h")
			other.claim.Generation = "gen-2"
			claim(e, other, queue.Duplicate)
			other.claim.Incarnation = e.reenroll("h").Incarnation
			claim(e, owner, queue.Superseded)
			claim(e, other, "")
			e.queued("h")
			other.one()
		}},
		{name: "resolving what isn't", run: func(e *env) {
			e.code(e.s.ResolveDuplicate(e.ctx, "nobody"), queue.NotFound, "ResolveDuplicate of an unknown host")
		}},
	}
}
