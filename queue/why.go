package queue

import (
	"fmt"
	"time"
)

// Situation is what bears on when an execution goes on, read at one moment.
type Situation struct {
	Execution Execution
	Host      Host // only the id if it was deleted
	// Flying is how many executions of its lane the host has in flight, without this one. Held is the one of them that
	// was leased first: what a queued one waits for while no slot is free. There is none if their records were lost.
	Flying int
	Held   Blocker
	// Ahead is how many executions of its lane that may be leased now (Held.Deliverable) would be delivered before it, counted
	// up to MaxAhead; First is the first of them. Only where it may be leased itself. Where much has passed its time and isn't
	// swept yet, some of that may be counted.
	Ahead int
	First Blocker
}

// MaxAhead is how far a store counts what is ahead of an execution.
const MaxAhead = 1000

// Blocker is an execution of the same host that another one waits for.
type Blocker struct {
	Job   JobID // "" = none
	State State
	Since time.Time // in this state
}

// WaitCode says what an execution waits for.
type WaitCode string

// The codes, in the order in which they are looked for.
const (
	WaitPaused    WaitCode = "paused"       // planned: the job is paused
	WaitRollout   WaitCode = "rollout"      // planned: not released yet
	WaitNotBefore WaitCode = "not_before"   // Until
	WaitDuplicate WaitCode = "duplicate"    // two machines have the host's identity: Since
	WaitNeverSeen WaitCode = "never_seen"   // the host never connected: Since it was enrolled
	WaitOffline   WaitCode = "offline"      // Since
	WaitNoSlots   WaitCode = "no_slots"     // the agent takes none from this lane
	WaitLane      WaitCode = "lane"         // no free slot: Behind and Since, if known; Ahead
	WaitAhead     WaitCode = "ahead"        // others come first: Behind, Ahead
	WaitPoll      WaitCode = "poll"         // Until: the next poll is due
	WaitDelivery  WaitCode = "delivery"     // about to be delivered
	WaitAccepted  WaitCode = "not_accepted" // Since it was delivered
	WaitStart     WaitCode = "not_started"  // Since it was accepted
	WaitCancel    WaitCode = "cancel"       // Since the cancel was asked for; or the host was deleted
	WaitHostAway  WaitCode = "running_away" // it runs, as far as is known: the host is offline Since
	WaitEnd       WaitCode = "running"      // Since; Until its time limit
)

// Wait says why an execution hasn't ended yet.
type Wait struct {
	Code   WaitCode
	Text   string    // one sentence, for people
	Since  time.Time // zero = doesn't apply, as Until
	Until  time.Time
	Behind JobID // "" = none
	Ahead  int
}

// Why says what an execution waits for; false if it has ended.
func (s *Situation) Why(j *JobStatus, now time.Time) (Wait, bool) {
	switch x := &s.Execution; {
	case x.State.Terminal():
		return Wait{}, false
	case x.State == Planned:
		return s.whyPlanned(j), true
	case x.State == Queued:
		return s.whyQueued(j, now), true
	default:
		return s.whyInFlight(j, now), true
	}
}

func (s *Situation) whyPlanned(j *JobStatus) Wait {
	released := fmt.Sprintf("%d of %d targets are released so far", j.Counters.Total()-j.Counters[Planned], j.Targets)
	switch j.Control {
	case ControlPaused:
		return Wait{Code: WaitPaused, Text: "The job is paused; " + released + "."}
	case ControlStopped:
		return Wait{Code: WaitCancel, Text: "The job is being cancelled."}
	}
	return Wait{Code: WaitRollout, Since: j.CreatedAt, Text: "Held by the rollout: " + released + "."}
}

func (s *Situation) whyQueued(j *JobStatus, now time.Time) Wait {
	x, p := &s.Execution, &s.Host.Presence
	lane := "lane " + string(x.Lane)
	until := "It is kept for it until " + clock(x.DeliverUntil) + "."
	switch {
	case !now.Before(x.DeliverUntil):
		return Wait{Code: WaitDelivery, Until: x.DeliverUntil, Text: "Not picked up in time; it is about to expire."}
	case x.NotBefore.After(now):
		return Wait{Code: WaitNotBefore, Until: x.NotBefore, Text: fmt.Sprintf("Waits for not_before, %s, in %s.", clock(x.NotBefore), span(x.NotBefore.Sub(now)))}
	case !p.DuplicateSince.IsZero():
		return Wait{Code: WaitDuplicate, Since: p.DuplicateSince, Text: fmt.Sprintf(
			"The host is a duplicate since %s: two machines have its identity, and neither gets work until an operator resolves it.", clock(p.DuplicateSince))}
	case s.Host.EnrolledAt.IsZero():
		return Wait{Code: WaitCancel, Text: "The host was deleted; this is about to be cancelled."}
	case p.Session == 0:
		return Wait{Code: WaitNeverSeen, Since: s.Host.EnrolledAt, Text: "The host has never connected since it was enrolled, " + clock(s.Host.EnrolledAt) + ". " + until}
	case !p.Online && p.Transport == TransportPoll && !p.Due.IsZero():
		return Wait{Code: WaitOffline, Since: p.Due, Text: fmt.Sprintf("The host is offline: its poll is overdue since %s, %s. %s", clock(p.Due), span(now.Sub(p.Due)), until)}
	case !p.Online:
		return Wait{Code: WaitOffline, Since: p.Since, Text: fmt.Sprintf("The host is offline since %s, %s. %s", clock(p.Since), span(now.Sub(p.Since)), until)}
	}
	slots := SlotsIn(p.Slots, x.Lane)
	switch {
	case slots == 0:
		return Wait{Code: WaitNoSlots, Text: fmt.Sprintf("The host's agent takes nothing from %s: it has no slots for it.", lane)}
	case s.Flying >= slots:
		text := fmt.Sprintf("Behind job %s in %s, %s since %s", s.Held.Job, lane, s.Held.State, clock(s.Held.Since))
		if s.Held.Job == "" {
			text = fmt.Sprintf("Behind an execution in %s whose record was lost", lane)
		}
		if s.Ahead > 0 {
			text += fmt.Sprintf(", and %s before it in the queue", count(s.Ahead))
		}
		return Wait{Code: WaitLane, Since: s.Held.Since, Behind: s.Held.Job, Ahead: s.Ahead, Text: text + "."}
	case s.Ahead > 0:
		return Wait{Code: WaitAhead, Behind: s.First.Job, Ahead: s.Ahead, Text: s.textAhead(lane)}
	case p.Transport == TransportPoll:
		return Wait{Code: WaitPoll, Until: p.Due, Text: fmt.Sprintf("The host polls; its next poll is due by %s, in %s.", clock(p.Due), span(p.Due.Sub(now)))}
	}
	return Wait{Code: WaitDelivery, Text: "The host is online and has a free slot; the delivery is on its way."}
}

func (s *Situation) whyInFlight(j *JobStatus, now time.Time) Wait {
	x, p := &s.Execution, &s.Host.Presence
	away, gone := "", time.Time{}
	if !p.Online && !s.Host.EnrolledAt.IsZero() {
		gone = p.Since
		if !p.Due.IsZero() {
			gone = p.Due
		}
		away = fmt.Sprintf(" The host is offline since %s.", clock(gone))
	}
	limit := x.StartedAt.Add(j.Spec.RunTimeout)
	switch {
	case !x.CancelledAt.IsZero() && x.State == Leased:
		return Wait{Code: WaitCancel, Since: x.CancelledAt, Text: fmt.Sprintf("Cancelled %s while it was being delivered; it ends when the host answers, or its lease lapses.%s", clock(x.CancelledAt), away)}
	case !x.CancelledAt.IsZero():
		return Wait{Code: WaitCancel, Since: x.CancelledAt, Text: fmt.Sprintf("A cancel was asked for %s; the host hasn't confirmed it yet.%s", clock(x.CancelledAt), away)}
	case x.State == Leased:
		return Wait{Code: WaitAccepted, Since: x.LeasedAt, Text: fmt.Sprintf("Delivered %s, %s ago, and not accepted yet.%s", clock(x.LeasedAt), span(now.Sub(x.LeasedAt)), away)}
	case x.State == Accepted:
		return Wait{Code: WaitStart, Since: x.AcceptedAt, Text: fmt.Sprintf("Accepted %s, %s ago, and not started yet.%s", clock(x.AcceptedAt), span(now.Sub(x.AcceptedAt)), away)}
	case away != "":
		return Wait{Code: WaitHostAway, Since: gone, Until: limit, Text: fmt.Sprintf("Runs since %s as far as is known.%s%s", clock(x.StartedAt), away, s.whenLost(j, now))}
	}
	text := fmt.Sprintf("Runs since %s, %s; its time limit is %s.", clock(x.StartedAt), span(now.Sub(x.StartedAt)), clock(limit))
	if now.After(limit) { // it, or the news of its end, takes its time
		text = fmt.Sprintf("Runs since %s, as far as is known; its time limit was %s, and the host hasn't said yet that it ended.", clock(x.StartedAt), clock(limit))
	}
	return Wait{Code: WaitEnd, Since: x.StartedAt, Until: limit, Text: text}
}

// whenLost says when silence makes it lost. An outage of the store puts that off.
func (s *Situation) whenLost(j *JobStatus, now time.Time) string {
	if lost := s.Execution.StartedAt.Add(j.Spec.SilenceAfter()); now.Before(lost) {
		return fmt.Sprintf(" If nothing is heard of it, it counts as lost from %s on.", clock(lost))
	}
	return ""
}

func (s *Situation) textAhead(lane string) string {
	if s.Ahead == 1 {
		return fmt.Sprintf("Job %s comes first in %s.", s.First.Job, lane)
	}
	return fmt.Sprintf("%s jobs come first in %s, beginning with job %s.", count(s.Ahead), lane, s.First.Job)
}

// clock writes a moment to the second.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd %dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func count(n int) string {
	if n >= MaxAhead {
		return fmt.Sprintf("%d or more", n)
	}
	return fmt.Sprint(n)
}
