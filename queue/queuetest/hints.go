package queuetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// hintWithin is how long a hint may take before the test gives up on it.
const hintWithin = 20 * time.Second

// listener is a gateway's subscription.
type listener struct {
	e     *env
	hints chan queue.Hint
	stop  func()
}

// listen subscribes and waits for the first hint, which names no hosts.
func (e *env) listen(gateway string) *listener {
	e.Helper()
	ctx, cancel := context.WithCancel(e.ctx)
	l := &listener{e: e, hints: make(chan queue.Hint, 10_000)}
	done := make(chan error, 1)
	go func() {
		done <- e.s.Subscribe(ctx, gateway, func(h queue.Hint) { l.hints <- h })
	}()
	l.stop = func() {
		cancel()
		if err := <-done; err != context.Canceled {
			e.Errorf("Subscribe: %v, want %v", err, context.Canceled)
		}
	}
	select {
	case h := <-l.hints:
		same(e, "first hint", len(h.Hosts), 0)
	case err := <-done:
		e.Fatalf("Subscribe: %v", err)
	case <-time.After(hintWithin):
		e.Fatal("Subscribe: no first hint")
	}
	return l
}

// wait waits for a hint for the host.
func (l *listener) wait(host queue.HostID, doing string) {
	l.e.Helper()
	timeout := time.After(hintWithin)
	for {
		select {
		case h := <-l.hints:
			if len(h.Hosts) == 0 || slices.Contains(h.Hosts, host) {
				return
			}
		case <-timeout:
			l.e.Fatalf("no hint for %s after %s", host, doing)
		}
	}
}

// drain forgets what has come so far; the verbs before it have returned, and a
// hint that is still on the way can only make a later wait end early.
func (l *listener) drain() {
	for len(l.hints) > 0 {
		<-l.hints
	}
}

func (e *env) ready(gateway string) string {
	e.Helper()
	hosts, err := e.s.Ready(e.ctx, gateway, 1000)
	e.ok(err, "Ready")
	slices.Sort(hosts)
	return fmt.Sprint(hosts)
}

func hintScenarios() []scenario {
	on := func(gateway string) func(*queue.Claim) {
		return func(c *queue.Claim) { c.Gateway = gateway }
	}
	return []scenario{
		{name: "work, cancel, another owner, revocation", run: func(e *env) {
			e.enroll("h", "other")
			l1, l2 := e.listen("gw-1"), e.listen("gw-2")
			defer l1.stop()
			defer l2.stop()
			a := e.agent("h", on("gw-1"))
			l1.drain()
			job := e.queued("h")
			l1.wait("h", "work")
			d := a.running()
			l1.drain()
			e.cancel(job)
			l1.wait("h", "a cancel")
			a.take(10)
			l1.drain()
			a.hello(on("gw-2"), inHand(holding(d, 2)))
			l1.wait("h", "another owner")
			l2.drain()
			e.ok(e.s.Revoke(e.ctx, "h"), "Revoke")
			l2.wait("h", "revocation")
		}},
		{name: "what has become due or free", run: func(e *env) {
			e.enroll("h")
			l := e.listen("gw-1")
			defer l.stop()
			a := e.agent("h")
			at := e.now().Add(time.Minute)
			e.queued("h", func(s *queue.Spec) { s.NotBefore = at })
			l.drain()
			e.advance(61 * time.Second)
			e.sweep()
			l.wait("h", "not_before was reached")
			a.take(1)
			l.drain()
			e.pass(45 * time.Second)
			l.wait("h", "a lease lapsed")
		}},
		{name: "many hosts", run: func(e *env) {
			hosts := e.many(150)
			l := e.listen("gw-1")
			defer l.stop()
			for _, h := range hosts {
				e.agent(h)
			}
			l.drain()
			e.queuedAll(hosts)
			missing := map[queue.HostID]bool{}
			for _, h := range hosts {
				missing[h] = true
			}
			timeout := time.After(hintWithin)
			for len(missing) > 0 {
				select {
				case h := <-l.hints:
					if len(h.Hosts) == 0 {
						clear(missing)
					}
					for _, id := range h.Hosts {
						delete(missing, id)
					}
				case <-timeout:
					e.Fatalf("no hint for %d of %d hosts", len(missing), len(hosts))
				}
			}
		}},
		{name: "a subscription ends with its context", run: func(e *env) {
			l := e.listen("gw-1")
			l.stop()
			l = e.listen("gw-1") // and can be made again
			l.stop()
		}},
		{name: "ready is the truth behind", run: func(e *env) {
			e.enroll("h", "i", "offline")
			same(e, "with nobody", e.ready("gw-1"), "[]")
			a := e.agent("h", on("gw-1"))
			e.agent("i", on("gw-2"))
			same(e, "with nothing to do", e.ready("gw-1"), "[]")
			first := e.queuedAll([]queue.HostID{"h", "i", "offline"})
			same(e, "with work", e.ready("gw-1"), "[h]")
			same(e, "with work", e.ready("gw-2"), "[i]")
			d := a.one()
			same(e, "with its work leased", e.ready("gw-1"), "[]")
			second := e.queued("h")
			same(e, "with its slot taken", e.ready("gw-1"), "[]")
			a.says("2 go", a.accepted(d), a.started(d))
			same(e, "with its slot running", e.ready("gw-1"), "[]")
			e.cancel(first, "h")
			same(e, "with a cancel", e.ready("gw-1"), "[h]")
			a.take(10)
			same(e, "with the cancel leased", e.ready("gw-1"), "[]")
			a.says("3", a.finished(d, 3, queue.Cancelled))
			same(e, "with its slot free", e.ready("gw-1"), "[h]")
			a.hello(on("gw-2"))
			same(e, "owned by another", e.ready("gw-1")+e.ready("gw-2"), "[][h i]")
			e.cancel(second)
			same(e, "with its work cancelled", e.ready("gw-2"), "[i]")
			e.agent("offline", on("gw-1"))
			same(e, "come back", e.ready("gw-1"), "[offline]")
		}},
		{name: "ready by lane", run: func(e *env) {
			e.enroll("h")
			a := e.agent("h", slots(map[queue.Lane]int{"closed": 0}))
			e.queued("h", lane("closed"))
			same(e, "with work for a closed lane", e.ready("gw-1"), "[]")
			e.queued("h")
			a.running()
			e.queued("h")
			same(e, "with its lane full", e.ready("gw-1"), "[]")
			e.queued("h", lane(queue.LaneUrgent))
			same(e, "with an urgent one", e.ready("gw-1"), "[h]")
			a.one()
			same(e, "with that leased", e.ready("gw-1"), "[]")
		}},
		{name: "ready follows time and sessions", run: func(e *env) {
			e.enroll("h")
			a := e.agent("h")
			at := e.now().Add(time.Minute)
			e.queued("h", func(s *queue.Spec) { s.NotBefore = at })
			same(e, "before its time", e.ready("gw-1"), "[]")
			e.advance(61 * time.Second)
			e.sweep()
			same(e, "at its time", e.ready("gw-1"), "[h]")
			a.one()
			e.pass(45 * time.Second)
			same(e, "after a lapse", e.ready("gw-1"), "[h]")
			e.ok(e.s.Release(e.ctx, "h", a.session), "Release")
			same(e, "without an owner", e.ready("gw-1"), "[]")
			a.hello(func(c *queue.Claim) { c.Transport, c.Due = queue.TransportPoll, time.Minute })
			same(e, "with a poll", e.ready("gw-1"), "[h]")
			f := a.fetch(0)
			f.Gateway, f.Max = "gw-2", 1
			_, err := e.s.Lease(e.ctx, f)
			e.ok(err, "Lease")
			e.queued("h", lane(queue.LaneUrgent))
			same(e, "polled by another gateway", e.ready("gw-1")+e.ready("gw-2"), "[][h]")
		}},
		{name: "ready has a limit", run: func(e *env) {
			hosts := e.many(5)
			for _, h := range hosts {
				e.agent(h)
			}
			e.queuedAll(hosts)
			got, err := e.s.Ready(e.ctx, "gw-1", 3)
			e.ok(err, "Ready")
			same(e, "hosts", len(got), 3)
		}},
	}
}
