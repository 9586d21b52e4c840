package queue

import (
	"strings"
	"testing"
	"time"
)

// situationOf is an execution in a state on a host that is online by a socket, with nothing else in its way.
func situationOf(state State, change ...func(*Situation)) *Situation {
	ago := func(d time.Duration) time.Time { return testNow.Add(-d) }
	s := &Situation{
		Execution: Execution{
			Job: "job-1", Host: "h", State: state, Lane: LaneDefault, ReleasedAt: ago(time.Hour), DeliverUntil: testNow.Add(23 * time.Hour),
			LeasedAt: ago(3 * time.Minute), AcceptedAt: ago(2 * time.Minute), StartedAt: ago(90 * time.Second),
		},
		Host: Host{ID: "h", EnrolledAt: ago(48 * time.Hour), Presence: Presence{Online: true, Transport: TransportSocket, Session: 1, Since: ago(2 * time.Hour)}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func offlineSince(s *Situation) {
	s.Host.Presence.Online, s.Host.Presence.Since = false, testNow.Add(-50*time.Hour)
}

func pollOverdue(s *Situation) {
	s.Host.Presence.Online, s.Host.Presence.Transport, s.Host.Presence.Due = false, TransportPoll, testNow.Add(-65*time.Second)
}

func cancelled(s *Situation) { s.Execution.CancelledAt = testNow.Add(-10 * time.Second) }

func TestWhy(t *testing.T) {
	active := JobStatus{Job: Job{Targets: 10, Control: Active, CreatedAt: testNow.Add(-time.Hour), Spec: Spec{}.WithDefaults()}, Counters: Counters{Planned: 7, Queued: 2, Succeeded: 1}}
	with := func(c Control) JobStatus { j := active; j.Control = c; return j }
	flying := func(s *Situation) {
		s.Flying, s.Held = 1, Blocker{"job-0", Running, testNow.Add(-time.Minute)}
	}
	lost := func(s *Situation) { s.Held = Blocker{} }
	ahead := func(n int) func(*Situation) {
		return func(s *Situation) { s.Ahead, s.First = n, Blocker{"job-0", Queued, testNow.Add(-time.Minute)} }
	}
	polling := func(s *Situation) {
		s.Host.Presence.Transport, s.Host.Presence.Due = TransportPoll, testNow.Add(42*time.Second)
	}
	slots := func(n int) func(*Situation) {
		return func(s *Situation) { s.Host.Presence.Slots = map[Lane]int{LaneDefault: n} }
	}
	since := func(d time.Duration) Wait { return Wait{Since: testNow.Add(-d)} }
	until := func(d time.Duration) Wait { return Wait{Until: testNow.Add(d)} }
	runs := Wait{Since: testNow.Add(-90 * time.Second), Until: testNow.Add(time.Hour - 90*time.Second)}
	const kept = " It is kept for it until 2023-11-15 21:13:20 UTC."
	for _, c := range []struct {
		code WaitCode
		s    *Situation
		job  JobStatus
		rest Wait // but code and text
		text string
	}{
		{WaitPaused, situationOf(Planned), with(ControlPaused), Wait{}, "The job is paused; 3 of 10 targets are released so far."},
		{WaitCancel, situationOf(Planned), with(ControlStopped), Wait{}, "The job is being cancelled."},
		{WaitRollout, situationOf(Planned), active, since(time.Hour), "Held by the rollout: 3 of 10 targets are released so far."},
		{WaitNotBefore, situationOf(Queued, func(s *Situation) { s.Execution.NotBefore = testNow.Add(26 * time.Hour) }), active, until(26 * time.Hour),
			"Waits for not_before, 2023-11-16 00:13:20 UTC, in 1d 2h."},
		{WaitDuplicate, situationOf(Queued, func(s *Situation) { s.Host.Presence.DuplicateSince = testNow.Add(-time.Minute) }), active, since(time.Minute),
			"The host is a duplicate since 2023-11-14 22:12:20 UTC: two machines have its identity, and neither gets work until an operator resolves it."},
		{WaitNeverSeen, situationOf(Queued, func(s *Situation) { s.Host.Presence = Presence{} }), active, since(48 * time.Hour),
			"The host has never connected since it was enrolled, 2023-11-12 22:13:20 UTC." + kept},
		{WaitOffline, situationOf(Queued, offlineSince), active, since(50 * time.Hour), "The host is offline since 2023-11-12 20:13:20 UTC, 2d 2h." + kept},
		{WaitOffline, situationOf(Queued, pollOverdue), active, since(65 * time.Second), "The host is offline: its poll is overdue since 2023-11-14 22:12:15 UTC, 1m 5s." + kept},
		{WaitNoSlots, situationOf(Queued, slots(0), flying), active, Wait{}, "The host's agent takes nothing from lane default: it has no slots for it."},
		{WaitLane, situationOf(Queued, flying), active, Wait{Since: testNow.Add(-time.Minute), Behind: "job-0"},
			"Behind job job-0 in lane default, running since 2023-11-14 22:12:20 UTC."},
		{WaitLane, situationOf(Queued, flying, ahead(4)), active, Wait{Since: testNow.Add(-time.Minute), Behind: "job-0", Ahead: 4},
			"Behind job job-0 in lane default, running since 2023-11-14 22:12:20 UTC, and 4 before it in the queue."},
		{WaitLane, situationOf(Queued, flying, lost), active, Wait{}, "Behind an execution in lane default whose record was lost."},
		{WaitLane, situationOf(Queued, flying, lost, ahead(4)), active, Wait{Ahead: 4},
			"Behind an execution in lane default whose record was lost, and 4 before it in the queue."},
		{WaitAhead, situationOf(Queued, ahead(1)), active, Wait{Behind: "job-0", Ahead: 1}, "Job job-0 comes first in lane default."},
		{WaitAhead, situationOf(Queued, slots(2), flying, ahead(MaxAhead)), active, Wait{Behind: "job-0", Ahead: MaxAhead},
			"1000 or more jobs come first in lane default, beginning with job job-0."},
		{WaitPoll, situationOf(Queued, polling), active, until(42 * time.Second), "The host polls; its next poll is due by 2023-11-14 22:14:02 UTC, in 42s."},
		{WaitDelivery, situationOf(Queued), active, Wait{}, "The host is online and has a free slot; the delivery is on its way."},
		{WaitDelivery, situationOf(Queued, func(s *Situation) { s.Execution.DeliverUntil = testNow }, offlineSince), active, until(0), "Not picked up in time; it is about to expire."},
		{WaitAccepted, situationOf(Leased), active, since(3 * time.Minute), "Delivered 2023-11-14 22:10:20 UTC, 3m 0s ago, and not accepted yet."},
		{WaitAccepted, situationOf(Leased, offlineSince), active, since(3 * time.Minute),
			"Delivered 2023-11-14 22:10:20 UTC, 3m 0s ago, and not accepted yet. The host is offline since 2023-11-12 20:13:20 UTC."},
		{WaitStart, situationOf(Accepted), active, since(2 * time.Minute), "Accepted 2023-11-14 22:11:20 UTC, 2m 0s ago, and not started yet."},
		{WaitCancel, situationOf(Leased, cancelled), active, since(10 * time.Second),
			"Cancelled 2023-11-14 22:13:10 UTC while it was being delivered; it ends when the host answers, or its lease lapses."},
		{WaitCancel, situationOf(Running, cancelled, pollOverdue), active, since(10 * time.Second),
			"A cancel was asked for 2023-11-14 22:13:10 UTC; the host hasn't confirmed it yet. The host is offline since 2023-11-14 22:12:15 UTC."},
		{WaitHostAway, situationOf(Running, offlineSince), active, Wait{Since: testNow.Add(-50 * time.Hour), Until: runs.Until},
			"Runs since 2023-11-14 22:11:50 UTC as far as is known. The host is offline since 2023-11-12 20:13:20 UTC. If nothing is heard of it, it counts as lost from 2023-11-14 23:17:00 UTC on."},
		{WaitHostAway, situationOf(Running, offlineSince, func(s *Situation) { s.Execution.StartedAt = testNow.Add(-2 * time.Hour) }), active,
			Wait{Since: testNow.Add(-50 * time.Hour), Until: testNow.Add(-time.Hour)}, // an outage puts it off
			"Runs since 2023-11-14 20:13:20 UTC as far as is known. The host is offline since 2023-11-12 20:13:20 UTC."},
		{WaitEnd, situationOf(Running), active, runs, "Runs since 2023-11-14 22:11:50 UTC, 1m 30s; its time limit is 2023-11-14 23:11:50 UTC."},
		{WaitCancel, situationOf(Queued, func(s *Situation) { s.Host = Host{ID: s.Host.ID} }), active, Wait{}, "The host was deleted; this is about to be cancelled."},
		{WaitEnd, situationOf(Running, func(s *Situation) { s.Execution.StartedAt = testNow.Add(-2 * time.Hour) }), active,
			Wait{Since: testNow.Add(-2 * time.Hour), Until: testNow.Add(-time.Hour)},
			"Runs since 2023-11-14 20:13:20 UTC, as far as is known; its time limit was 2023-11-14 21:13:20 UTC, and the host hasn't said yet that it ended."},
	} {
		w, waits := c.s.Why(&c.job, testNow)
		if want := (Wait{c.code, c.text, c.rest.Since, c.rest.Until, c.rest.Behind, c.rest.Ahead}); w != want || !waits {
			t.Errorf("%s, %v:\n%+v, want\n%+v", c.code, c.s.Execution.State, w, want)
		}
		if !strings.HasSuffix(w.Text, ".") {
			t.Errorf("%s: %q doesn't end with a full stop", c.code, w.Text)
		}
	}
}

// TestWhyHostile holds that nothing a host says of itself stands in a sentence.
func TestWhyHostile(t *testing.T) {
	const hostile = "\x1b[31mEVIL"
	j := JobStatus{Job: Job{Targets: 1, Spec: Spec{}.WithDefaults()}, Counters: Counters{}}
	for _, state := range States() {
		for _, change := range []func(*Situation){func(*Situation) {}, offlineSince, pollOverdue, cancelled} {
			s := situationOf(state, change)
			p := &s.Host.Presence
			p.AgentVersion, p.BootID, p.Generation, p.Gateway = hostile, hostile, hostile, hostile
			s.Host.Facts = map[string]string{hostile: hostile}
			s.Execution.Generation = hostile
			w, waits := s.Why(&j, testNow)
			if waits == state.Terminal() || waits == (w == Wait{}) || strings.Contains(w.Text, "EVIL") {
				t.Errorf("%v: %+v, waits: %v", state, w, waits)
			}
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 1900 * time.Millisecond: "1s", 60 * time.Second: "1m 0s", 3661 * time.Second: "1h 1m", 49 * time.Hour: "2d 1h",
	} {
		if got := span(d); got != want {
			t.Errorf("span of %v: %q, want %q", d, got, want)
		}
	}
}
