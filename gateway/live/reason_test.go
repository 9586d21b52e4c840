package live

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// waits puts an execution on the board that is queued for a host that is offline.
func (b *board) waits(host queue.HostID, offline time.Time) *written {
	b.job(jobA, 1)
	w := b.run(jobA, host)
	b.do(func() {
		w.x.State, w.x.Stored, w.x.Lane, w.x.DeliverUntil = queue.Queued, 0, queue.LaneDefault, offline.Add(24*time.Hour)
		w.situation = queue.Situation{Host: queue.Host{ID: host, EnrolledAt: offline, Presence: queue.Presence{Session: 1, Since: offline}}}
	})
	return w
}

// why is the code of the reason that a reader was told last.
func (r *reader) why() queue.WaitCode {
	if r.reason == nil {
		return ""
	}
	return r.reason.Code
}

// take takes what is there, at once.
func (r *reader) take() {
	r.t.Helper()
	for r.step() {
	}
}

// looked counts the situations that were read.
func (b *board) looked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.situated
}

// The reason changes without the execution: each is told, once, and only where it is another one.
func TestReasonChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		w := b.waits("h", time.Now())
		r := open(t, v, Topic{Job: jobA, Host: "h"})
		defer r.view.Close()
		presence := func(f func(p *queue.Presence)) func() { return func() { f(&w.situation.Host.Presence) } }
		ahead := func(n int) func() { return func() { w.situation.Ahead, w.situation.First.Job = n, jobB } }
		for _, step := range []struct {
			change func()
			code   queue.WaitCode
		}{
			{func() {}, queue.WaitOffline},
			{presence(func(p *queue.Presence) { p.Online, p.Slots = true, map[queue.Lane]int{queue.LaneDefault: 1} }), queue.WaitDelivery},
			{ahead(2), queue.WaitAhead},
			{func() {
				w.situation.Flying, w.situation.Held = 1, queue.Blocker{Job: jobB, State: queue.Running, Since: time.Now()}
			}, queue.WaitLane},
			{func() { w.situation.Flying = 0; ahead(0)() }, queue.WaitDelivery},
			{presence(func(p *queue.Presence) { p.Transport, p.Due = queue.TransportPoll, time.Now().Add(time.Minute) }), queue.WaitPoll},
			{presence(func(p *queue.Presence) { p.DuplicateSince = time.Now() }), queue.WaitDuplicate},
			{func() { w.x.CancelledAt, w.x.State = time.Now(), queue.Leased }, queue.WaitCancel},
			{presence(func(p *queue.Presence) { p.Online = false }), queue.WaitCancel}, // where it says that the host is offline
			{func() { w.x.State = queue.Cancelled }, ""},
		} {
			b.do(step.change)
			time.Sleep(2 * time.Second)
			r.take()
			if r.why() != step.code {
				t.Fatalf("%q was told where %q is why", r.why(), step.code)
			}
			if step.code != "" && r.run.State.Terminal() {
				t.Errorf("%s has ended", step.code)
			}
			steps := r.steps
			time.Sleep(time.Minute / 2) // the ages in the text go on
			if r.take(); r.steps != steps {
				t.Errorf("%s was told %d times more", step.code, r.steps-steps)
			}
		}
		if r.steps != 9 || r.whole != 1 {
			t.Errorf("%d steps and %d snapshots for 10 reasons", r.steps, r.whole)
		}
	})
}

// What a rollout has released is told as it changes, though code and times stay.
func TestReasonRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		w := b.waits("h", time.Now())
		b.do(func() {
			w.x.State = queue.Planned
			b.list[0].Targets, b.list[0].Counters = 10, queue.Counters{queue.Planned: 8, queue.Queued: 2}
		})
		r := open(t, v, Topic{Job: jobA, Host: "h"})
		defer r.view.Close()
		time.Sleep(2 * time.Second)
		r.take()
		before := r.reason
		b.do(func() { b.list[0].Counters = queue.Counters{queue.Planned: 5, queue.Queued: 5} })
		time.Sleep(2 * time.Second)
		r.take()
		if r.why() != queue.WaitRollout || before == nil || before.Text == r.reason.Text {
			t.Errorf("%+v after %+v", r.reason, before)
		}
	})
}

// An outage of what tells why costs the reason alone; it is asked for again, at the same pace.
func TestReasonUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		w := b.waits("h", time.Now())
		b.do(func() { b.placeless = &queue.Error{Code: queue.Unavailable, Message: "not now"} })
		r := open(t, v, Topic{Job: jobA, Host: "h"})
		defer r.view.Close()
		time.Sleep(time.Minute)
		if r.take(); r.run == nil || r.why() != "" {
			t.Fatalf("%+v for %+v", r.reason, r.run)
		}
		if n := b.looked(); n > 70 {
			t.Errorf("it was asked for %d times in a minute", n)
		}
		b.do(func() { b.placeless = nil })
		time.Sleep(2 * time.Second)
		if r.take(); r.why() != queue.WaitOffline {
			t.Errorf("%q is told after the outage", r.why())
		}
		b.do(func() { b.placeless = errors.New("broken") })
		time.Sleep(2 * time.Second)
		if r.take(); r.why() != "" {
			t.Errorf("%q is told, which isn't known any more", r.why())
		}
		b.do(func() { w.x.State, w.x.Stored = queue.Running, 2; w.says(queue.Stdout, "hello") })
		time.Sleep(2 * time.Second)
		if r.take(); text(r.output) != "hello" {
			t.Errorf("the output is %q", text(r.output))
		}
	})
}

// An execution whose output streams costs no look at its situation; one that is silent is looked at now and then.
func TestReasonOfWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		w := b.waits("h", time.Now())
		b.do(func() {
			b.list[0].Spec.RunTimeout = time.Hour
			w.x.State, w.x.StartedAt, w.x.Stored = queue.Running, time.Now(), 2
			w.situation.Host.Presence.Online = true
		})
		r := open(t, v, Topic{Job: jobA, Host: "h"})
		defer r.view.Close()
		other := open(t, v, Topic{Job: jobA, Host: "h"})
		defer other.view.Close()
		time.Sleep(200 * time.Millisecond)
		if r.take(); r.why() != queue.WaitEnd || !r.reason.Until.Equal(w.x.StartedAt.Add(time.Hour)) {
			t.Fatalf("%+v", r.reason)
		}
		before := b.looked()
		for range 120 {
			b.do(func() { w.says(queue.Stdout, "abc") })
			time.Sleep(time.Second / 2)
			r.take()
		}
		if n := b.looked() - before; n != 0 {
			t.Errorf("a minute of output cost %d looks", n)
		}
		b.do(func() { w.situation.Host.Presence = queue.Presence{Session: 1, Since: time.Now()} })
		time.Sleep(time.Minute)
		if r.take(); r.why() != queue.WaitHostAway {
			t.Errorf("%q is told of a host that is away", r.why())
		}
		if n := b.looked() - before; n < 5 || n > 13 {
			t.Errorf("a minute of silence cost %d looks", n)
		}
		// Its next word says that it is back, before anybody looks.
		before = b.looked()
		b.do(func() { w.says(queue.Stdout, "back") })
		time.Sleep(time.Second / 2)
		if r.take(); r.why() != queue.WaitEnd || b.looked() > before+1 {
			t.Errorf("%q is told of a host that reports, after %d looks", r.why(), b.looked()-before)
		}
	})
}

// A situation that was read later than the execution isn't told of the state before.
func TestReasonOfAnotherState(t *testing.T) {
	b := newBoard()
	v := NewViews(b)
	defer v.Close()
	w := b.waits("h", time.Now())
	x := w.x
	w.x.State = queue.Running
	if r := v.readReason(context.Background(), &x, nil); r.wait != nil || !r.at.IsZero() {
		t.Errorf("%+v at %v", r.wait, r.at)
	}
}
