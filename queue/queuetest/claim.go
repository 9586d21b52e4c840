package queuetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// verdicts gives a hello's answers, by the place of their execution in ds, in
// the order of ds.
func verdicts(c queue.Claimed, ds ...queue.Delivery) string {
	var b strings.Builder
	for i, d := range ds {
		for _, v := range c.Verdicts {
			if v.Execution == d.Execution.ID() {
				fmt.Fprintf(&b, "%d: %s; ", i, ackText(v))
			}
		}
	}
	return strings.TrimSuffix(b.String(), "; ")
}

// three makes a host with three jobs: leased, accepted, running.
func three(e *env) (*agent, []queue.Delivery) {
	e.Helper()
	e.enroll("h")
	for range 3 {
		e.queued("h")
	}
	a := e.agent("h", slots(map[queue.Lane]int{"default": 3}))
	ds := a.take(3)
	a.says("1 go", a.accepted(ds[1]))
	a.says("1 go", a.accepted(ds[2]))
	a.says("2", a.started(ds[2]))
	return a, ds
}

// states tells the states of deliveries on their hosts.
func (e *env) statesOf(ds ...queue.Delivery) string {
	e.Helper()
	var b strings.Builder
	for _, d := range ds {
		b.WriteByte(byte(e.execution(d.Execution.Job, d.Execution.Host).State))
	}
	return b.String()
}

func claimScenarios() []scenario {
	return []scenario{
		{name: "all in hand", run: func(e *env) {
			a, ds := three(e)
			e.pass(20 * time.Second)
			c := a.hello(inHand(holding(ds[0], 1), holding(ds[1], 1), holding(ds[2], 7)))
			same(e, "verdicts", verdicts(c, ds...), "0: 0; 1: 1 go; 2: 2 go")
			same(e, "Lost", c.Lost, 0)
			same(e, "states", e.statesOf(ds...), "lar")
			a.none() // what is carried over isn't delivered again
			e.pass(20 * time.Second)
			same(e, "states after the renewal of the lease", e.statesOf(ds...), "lar")
			a.says("1 go", a.accepted(ds[0])) // under the token of the session before
		}},
		{name: "a lease that was carried over lapses", run: func(e *env) {
			a, d, job := e.taken("h")
			e.pass(20 * time.Second)
			a.hello(inHand(holding(d, 0)))
			e.pass(queue.DefaultLeaseTTL - 5*time.Second)
			e.want(job, "h", queue.Leased)
			e.pass(10 * time.Second)
			e.want(job, "h", queue.Queued)
			a.says("0 forget stale_token", a.accepted(d))
		}},
		{name: "nothing in hand", run: func(e *env) {
			a, ds := three(e)
			c := a.hello()
			same(e, "Lost", c.Lost, 2)
			same(e, "verdicts", len(c.Verdicts), 0)
			same(e, "states", e.statesOf(ds...), "qxx")
			x := e.execution(ds[1].Execution.Job, "h")
			if x.Result.Reason == "" || x.FinishedAt.IsZero() {
				e.Errorf("lost with %+v", x.Result)
			}
			if d := a.one(); d.Execution.ID() != ds[0].Execution.ID() || d.Token == ds[0].Token {
				e.Errorf("delivered again: %+v", d)
			}
		}},
		{name: "barrier by position", run: func(e *env) {
			a, ds := three(e)
			// composed between the two accepted: it proves nothing about the second
			c := a.hello(func(c *queue.Claim) { c.Position = 1 })
			same(e, "Lost", c.Lost, 1)
			same(e, "states", e.statesOf(ds...), "qxr")
			a.says("3", a.finished(ds[2], 3, queue.Succeeded))
		}},
		{name: "barrier by generation", run: func(e *env) {
			a, ds := three(e)
			c := a.hello(func(c *queue.Claim) { c.Generation, c.Position = "gen-2", 0 })
			same(e, "Lost", c.Lost, 2)
			same(e, "states", e.statesOf(ds...), "qxx")
		}},
		{name: "another boot with all in hand", run: func(e *env) {
			a, ds := three(e)
			c := a.hello(func(c *queue.Claim) { c.BootID = "boot-2" }, inHand(holding(ds[0], 0), holding(ds[1], 2), holding(ds[2], 3)))
			same(e, "Lost", c.Lost, 0)
			same(e, "states", e.statesOf(ds...), "lar") // the host tells itself what is gone
			f := a.finished(ds[2], 3, queue.Lost)
			a.says("3", f)
			same(e, "states", e.statesOf(ds...), "lax")
			same(e, "boot", e.host("h").Presence.BootID, "boot-2")
		}},
		{name: "in hand under another token, or another generation", run: func(e *env) {
			a, ds := three(e)
			wrong := holding(ds[0], 1)
			wrong.Token = "wrong"
			c := a.hello(inHand(wrong, holding(ds[1], 1), holding(ds[2], 2)))
			same(e, "verdicts", verdicts(c, ds...), "0: 0 forget stale_token; 1: 1 go; 2: 2 go")
			same(e, "states", e.statesOf(ds...), "qar")
			c = a.hello(func(c *queue.Claim) { c.Generation = "gen-2" }, inHand(holding(ds[1], 1)))
			same(e, "verdicts", verdicts(c, ds...), "1: 1 forget other_generation")
			same(e, "states", e.statesOf(ds...), "qax")
		}},
		{name: "in hand and ended, or unknown", run: func(e *env) {
			e.enroll("h", "other")
			done, cancelled := e.queued("h"), e.queued("h")
			a := e.agent("h", slots(map[queue.Lane]int{"default": 2}))
			ds := a.take(2)
			a.says("3", a.accepted(ds[0]), a.started(ds[0]), a.finished(ds[0], 3, queue.Failed))
			e.cancel(cancelled)
			a.says("0 forget cancelled", a.accepted(ds[1]))
			never := queue.Delivery{Execution: queue.Execution{Job: queue.NewJobID(e.now()), Host: "h"}, Token: "t"}
			ds = append(ds, never)
			c := a.hello(inHand(holding(ds[0], 3), holding(ds[1], 1), holding(never, 1)))
			same(e, "verdicts", verdicts(c, ds...), "0: 3; 1: 0 forget cancelled; 2: 0 forget unknown")
			c = a.hello(inHand(holding(ds[0], 5)))
			same(e, "more in hand than there can be", verdicts(c, ds...), "0: 3 forget ended")
			e.want(done, "h", queue.Failed)
		}},
		{name: "in hand and lost", run: func(e *env) {
			a, ds := three(e)
			a.hello()
			c := a.hello(inHand(holding(ds[1], 1), holding(ds[2], 5)))
			same(e, "verdicts", verdicts(c, ds...), "1: 1 forget ended; 2: 2")
			a.says("3", a.output(ds[2], 3, queue.Stdout, "x"))
		}},
		{name: "cancels are told", run: func(e *env) {
			a, ds := three(e)
			for _, d := range ds {
				e.cancel(d.Execution.Job)
			}
			c := a.hello(func(c *queue.Claim) { c.Position = 1 }, inHand(holding(ds[0], 1), holding(ds[1], 1)))
			same(e, "verdicts", verdicts(c, ds...), "0: 0; 1: 1 cancel; 2: 2 cancel")
			a.none() // they are settled by it
			a.says("0 forget cancelled", a.accepted(ds[0]))
		}},
		{name: "a store that went back", run: func(e *env) {
			// what a failover can lose is for each store's own tests; here the host is
			// ahead, and is told where to go back to
			a, ds := three(e)
			c := a.hello(inHand(holding(ds[0], 9), holding(ds[1], 9), holding(ds[2], 9)))
			same(e, "verdicts", verdicts(c, ds...), "0: 0; 1: 1 go; 2: 2 go")
			a.says("0", a.output(ds[0], 9, queue.Stdout, "x"))
			a.says("2", a.output(ds[2], 9, queue.Stdout, "x"))
			a.says("9", append([]queue.Event{a.accepted(ds[0]), a.started(ds[0])}, a.gap(ds[0], 3, 8, 600), a.finished(ds[0], 9, queue.Succeeded))...)
			same(e, "output", e.execution(ds[0].Execution.Job, "h").Output, queue.OutputInfo{Gap: 600})
		}},
		{name: "session and presence", run: func(e *env) {
			e.enroll("h")
			if p := e.host("h").Presence; p.Online || p.Session != 0 {
				e.Errorf("presence before any hello: %+v", p)
			}
			a := e.process("h")
			c := a.hello(slots(map[queue.Lane]int{"batch": 3}), func(c *queue.Claim) { c.Facts = map[string]string{"os": "debian"} })
			if d := e.now().Sub(c.Now); d < 0 || d > time.Minute {
				e.Errorf("Claimed.Now is %v old", d)
			}
			if !e.twice && c.Replaced != "" {
				e.Errorf("the first session replaced %q", c.Replaced)
			}
			h := e.host("h")
			p := h.Presence
			same(e, "presence", words(p.Transport, p.Gateway, p.Session == a.session, p.AgentVersion, p.BootID, p.Generation, p.Slots["batch"], h.Facts["os"]),
				words("socket", "gw-1", true, "1.0", "boot-1", "gen-1", 3, "debian"))
			same(e, "online before its gateway is alive", p.Online, false)
			e.ok(e.s.Alive(e.ctx, "gw-1", time.Minute), "Alive")
			same(e, "online", e.host("h").Presence.Online, true)
			e.advance(61 * time.Second)
			same(e, "online after its gateway's time", e.host("h").Presence.Online, false)
			e.ok(e.s.Alive(e.ctx, "gw-1", time.Minute), "Alive")
			e.ok(e.s.Release(e.ctx, "h", a.session), "Release")
			same(e, "online after release", e.host("h").Presence.Online, false)
		}},
		{name: "presence of a poll", run: func(e *env) {
			e.enroll("h")
			a := e.agent("h", func(c *queue.Claim) { c.Transport, c.Due = queue.TransportPoll, time.Minute })
			p := e.host("h").Presence
			same(e, "presence", words(p.Online, p.Transport), "true poll")
			if d := p.Due.Sub(e.now()); d < 50*time.Second || d > time.Minute {
				e.Errorf("due in %v, want about a minute", d)
			}
			e.advance(50 * time.Second)
			f := a.fetch(1)
			f.Gateway = "gw-2" // the next request came to another gateway
			_, err := e.s.Lease(e.ctx, f)
			e.ok(err, "Lease")
			e.advance(50 * time.Second)
			p = e.host("h").Presence
			same(e, "presence", words(p.Online, p.Gateway), "true gw-2")
			e.advance(11 * time.Second)
			same(e, "online when overdue", e.host("h").Presence.Online, false)
			_, err = e.s.Lease(e.ctx, f) // late, but still the owner
			e.ok(err, "Lease")
			same(e, "online again", e.host("h").Presence.Online, true)
		}},
		{name: "replaced gateway", once: true, run: func(e *env) {
			e.enroll("h")
			a := e.agent("h")
			c := a.hello(func(c *queue.Claim) { c.Gateway = "gw-2" })
			same(e, "Replaced", c.Replaced, "gw-1")
		}},
		{name: "refused", run: func(e *env) {
			e.enroll("h", "revoked")
			try := func(want queue.Code, host queue.HostID, change func(c *queue.Claim)) {
				e.Helper()
				c := e.process("h").claim
				c.Host = host
				change(&c)
				_, err := e.s.Claim(e.ctx, c)
				e.code(err, want, "Claim %+v", c)
			}
			try(queue.NotFound, "nobody", func(c *queue.Claim) {})
			try(queue.Superseded, "h", func(c *queue.Claim) { c.Incarnation-- })
			try(queue.Superseded, "h", func(c *queue.Claim) { c.Incarnation++ })
			try(queue.Invalid, "h", func(c *queue.Claim) { c.Slots = map[queue.Lane]int{"default": -1} })
			try(queue.Invalid, "h", func(c *queue.Claim) { c.Slots = map[queue.Lane]int{"default": queue.MaxSlots + 1} })
			try(queue.Invalid, "h", func(c *queue.Claim) { c.Slots = map[queue.Lane]int{"No": 1} })
			try(queue.Invalid, "h", func(c *queue.Claim) {
				c.Slots = map[queue.Lane]int{}
				for i := range queue.MaxLanes + 1 {
					c.Slots[queue.Lane(fmt.Sprint("lane-", i))] = 1
				}
			})
			try(queue.Invalid, "h", func(c *queue.Claim) { c.Facts = map[string]string{"a": strings.Repeat("x", queue.MaxFacts)} })
			e.ok(e.s.Revoke(e.ctx, "revoked"), "Revoke")
			try(queue.Forbidden, "revoked", func(c *queue.Claim) { c.Incarnation = e.host("revoked").Incarnation })
			same(e, "session", e.host("h").Presence.Session, 0)
		}},
	}
}
