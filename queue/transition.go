package queue

import (
	"cmp"
	"time"
	"unicode/utf8"
)

// Held is an execution as its store holds it, with what no reader sees. Its
// methods are the arrows of the state table as pure functions: they change only
// the value, know no clock but the one they are given, and leave a terminal state alone.
// A store in another language does the same in its own way; queuetest holds
// both to it.
type Held struct {
	Execution
	Token       string // of the last lease; "" = never leased
	CancelledBy string // who asked for the cancel that CancelledAt tells of
	Bound       int64  // of output, see Spec.OutputBound; 0 = none
}

// The reasons of acks that forget.
const (
	ReasonStaleToken      = "stale_token"      // the lease was given out anew, or ended
	ReasonUnknown         = "unknown"          // the host has no such execution
	ReasonCancelled       = "cancelled"        // ended before it was accepted, or by the host's confirmation
	ReasonExpired         = "expired"          // accepted too late
	ReasonEnded           = "ended"            // it has ended otherwise
	ReasonOtherGeneration = "other_generation" // another journal accepted it
)

// The reasons of results that a store gives, for people.
const (
	WhyExpired    = "not picked up in time"
	WhyReenrolled = "host revoked, deleted or enrolled anew"
	WhyVanished   = "the host came back without it"
	WhySilent     = "the host was silent beyond the time limit"
)

// WhyCancelled is the reason of a result that was cancelled by an operator.
func WhyCancelled(by string) string {
	if by == "" {
		return "cancelled"
	}
	if isReason(by) {
		return by
	}
	return "cancelled by " + by
}

// Release puts a planned execution into its queue.
func (h *Held) Release(s Spec, now time.Time) {
	if h.State != Planned {
		return
	}
	h.State, h.ReleasedAt, h.NotBefore = Queued, now, s.NotBefore
	h.DeliverUntil = now.Add(s.PickupTimeout)
	if s.NotBefore.After(now) {
		h.DeliverUntil = s.NotBefore.Add(s.PickupTimeout)
	}
}

// Deliverable tells whether it may be leased now: due, and not past
// DeliverUntil, whether or not a sweep has seen to it yet.
func (h *Held) Deliverable(now time.Time) bool {
	return h.State == Queued && !now.Before(h.NotBefore) && now.Before(h.DeliverUntil)
}

// Lease delivers it under a token.
func (h *Held) Lease(token string, now time.Time) {
	if h.State != Queued {
		return
	}
	h.State, h.Token, h.LeasedAt = Leased, token, now
	h.Deliveries++
}

// EndLease takes an unaccepted lease back: it lapsed, or its session was
// replaced or went. A flagged execution ends by it, one past DeliverUntil too.
func (h *Held) EndLease(now time.Time) {
	switch {
	case h.State != Leased:
	case !h.CancelledAt.IsZero():
		h.end(Result{Outcome: Cancelled, ExitCode: -1, Reason: WhyCancelled(h.CancelledBy), At: now}, now)
	case !now.Before(h.DeliverUntil):
		h.end(Result{Outcome: Expired, ExitCode: -1, Reason: WhyExpired, At: now}, now)
	default:
		h.State = Queued
	}
}

// Expire ends a queued execution past DeliverUntil.
func (h *Held) Expire(now time.Time) {
	if h.State == Queued && !now.Before(h.DeliverUntil) {
		h.end(Result{Outcome: Expired, ExitCode: -1, Reason: WhyExpired, At: now}, now)
	}
}

// Cancel ends what isn't delivered, and flags what is. asked is true if the
// host has to confirm and wasn't asked before: it gets a numbered cancel message.
// A leased one is flagged only: it ends by EndLease or by its accepted.
func (h *Held) Cancel(by string, now time.Time) (asked bool) {
	switch h.State {
	case Planned, Queued:
		h.CancelledAt, h.CancelledBy = now, by
		h.end(Result{Outcome: Cancelled, ExitCode: -1, Reason: WhyCancelled(by), At: now}, now)
	case Leased, Accepted, Running:
		if !h.CancelledAt.IsZero() {
			return false
		}
		h.CancelledAt, h.CancelledBy = now, by
		return h.State != Leased
	}
	return false
}

// Lose ends an accepted or running execution of which the store has evidence,
// or silence, that it is gone.
func (h *Held) Lose(why string, now time.Time) {
	if h.State == Accepted || h.State == Running {
		h.end(Result{Outcome: Lost, ExitCode: -1, Reason: why, At: now}, now)
	}
}

// Void ends what is bound to an incarnation that is no longer the host's.
func (h *Held) Void(now time.Time) {
	switch h.State {
	case Planned, Queued, Leased:
		h.end(Result{Outcome: Cancelled, ExitCode: -1, Reason: WhyReenrolled, At: now}, now)
	default:
		h.Lose(WhyReenrolled, now)
	}
}

func (h *Held) end(r Result, now time.Time) {
	r.Reason = cutReason(r.Reason)
	h.State, h.Result, h.FinishedAt = r.Outcome, r, now
}

// Hello judges the execution by its host's hello. in is what the hello says of
// it, nil if it isn't in hand; tell is whether ack is to be told: always for
// what is in hand, else for a cancel only. A lease that stays Leased is carried
// over: the caller renews it. The caller has checked the incarnation.
func (h *Held) Hello(c *Claim, in *InHand, now time.Time) (ack Ack, tell bool) {
	if in == nil {
		h.EndLease(now)
		if h.Generation != c.Generation || h.Position <= c.Position {
			h.Lose(WhyVanished, now)
		}
		inFlight := h.State == Accepted || h.State == Running
		return h.ack(VerdictCancel, ""), inFlight && !h.CancelledAt.IsZero()
	}
	switch {
	case h.Generation != "" && h.Generation != c.Generation:
		return h.ack(VerdictForget, ReasonOtherGeneration), true
	case h.State == Leased && h.Token == in.Token:
		return h.ack(VerdictNone, ""), true
	case !h.State.Terminal() && h.Generation == "": // leased anew, queued, planned
		h.EndLease(now)
		return h.ack(VerdictForget, ReasonStaleToken), true
	case h.State.Terminal():
		if h.wants(in.Seq) {
			return h.ack(VerdictNone, ""), true
		}
		return h.forget(), true
	}
	return h.ack(h.goOrCancel(), ""), true
}

// wants tells whether an ended execution of which the host has events up to seq
// is nothing to forget: they are all stored, or they are kept as late. What the
// host may still be about to start is to be forgotten.
func (h *Held) wants(seq int64) bool {
	if h.State == Lost && seq <= 1 {
		return h.Stored > 1
	}
	return seq <= h.Stored || h.State == Lost && h.Late == nil
}

func (h *Held) ack(v Verdict, reason string) Ack {
	return Ack{Execution: h.ID(), Stored: h.Stored, Verdict: v, Reason: reason}
}

func (h *Held) forget() Ack {
	switch h.State {
	case Cancelled:
		return h.ack(VerdictForget, ReasonCancelled)
	case Expired:
		return h.ack(VerdictForget, ReasonExpired)
	}
	return h.ack(VerdictForget, ReasonEnded)
}

func (h *Held) goOrCancel() Verdict {
	if !h.CancelledAt.IsZero() {
		return VerdictCancel
	}
	return VerdictGo
}

// Record applies events of the execution, of one batch and in its order, by a
// host whose journal has the generation. It gives the ack, and the events that
// are output (or gaps) to be appended. The events are valid (Event.Validate).
func (h *Held) Record(events []Event, generation string, now time.Time) (ack Ack, appended []Event) {
	named, ours := false, false // accepted is in this batch; under the token that counts
	for _, e := range events {
		if e.Kind == EventAccepted {
			named, ours = true, ours || e.Token == h.Token
		}
		switch {
		case h.Generation != "" && h.Generation != generation:
			return h.ack(VerdictForget, ReasonOtherGeneration), nil
		case e.Seq <= h.Stored:
			continue
		case h.State.Terminal() && (h.State != Lost || h.Late != nil):
			return h.forget(), appended
		case e.Seq > h.Stored+1:
			continue
		case e.Seq == 1:
			if h.State != Leased || e.Token != h.Token {
				return h.ack(VerdictForget, ReasonStaleToken), nil
			}
			if !h.first(e, generation, now) {
				return h.forget(), nil
			}
		default:
			if h.next(e, now) {
				appended = append(appended, e)
			}
		}
	}
	switch {
	case ours && (h.State == Accepted || h.State == Running):
		return h.ack(h.goOrCancel(), ""), appended
	case named && h.State == Lost && !h.wants(1):
		return h.forget(), appended
	}
	return h.ack(VerdictNone, ""), appended
}

// first applies event 1 under the lease's token; false if the execution has
// ended instead of being accepted.
func (h *Held) first(e Event, generation string, now time.Time) bool {
	if e.Kind == EventRejected {
		h.Stored = 1
		h.end(Result{Outcome: Rejected, ExitCode: -1, Reason: e.Reason, At: e.At}, now)
		return true
	}
	if h.EndLease(now); h.State != Queued {
		return false
	}
	h.State, h.Stored, h.AcceptedAt = Accepted, 1, now
	h.Generation, h.Position = generation, e.Position
	return true
}

// next applies the next event after accepted; true if it is output, or a gap in
// it, to be appended. What an ended (lost) execution still reports is kept, and changes nothing
// but Late.
func (h *Held) next(e Event, now time.Time) (keep bool) {
	h.Stored = e.Seq
	switch e.Kind {
	case EventGap:
		h.Stored = e.Through
		if keep = h.keeps(e.Bytes); keep {
			h.Output.Gap += e.Bytes
		}
	case EventOutput:
		n := int64(len(e.Data))
		if keep = h.keeps(n); keep && e.Stream == Stderr {
			h.Output.Stderr += n
		} else if keep {
			h.Output.Stdout += n
		}
	case EventRejected:
		h.finish(Result{Outcome: Rejected, ExitCode: -1, Reason: e.Reason, At: e.At}, now)
		return false
	case EventFinished:
		h.Output.Dropped = min(h.Output.Dropped+min(e.Dropped, MaxCount), MaxCount)
		r := Result{Outcome: e.Outcome, ExitCode: e.ExitCode, Signal: e.Signal, Reason: e.Reason, At: e.At}
		if r.Outcome == Cancelled && r.Reason == "" && !h.CancelledAt.IsZero() {
			r.Reason = WhyCancelled(h.CancelledBy)
		}
		h.finish(r, now)
		return false
	}
	// A gap may have swallowed started.
	if h.State == Accepted {
		h.State, h.StartedAt = Running, now
	}
	return keep
}

// keeps tells whether n more bytes of output, or of a gap in it, are kept. From the first
// that don't fit all are dropped, so that what is kept has no hole that isn't told. A gap of no
// bytes is nothing to keep.
func (h *Held) keeps(n int64) bool {
	o := &h.Output
	if n == 0 {
		return false
	}
	if o.Dropped > 0 || h.Bound > 0 && n > h.Bound-o.Stdout-o.Stderr-o.Gap {
		o.Dropped = min(o.Dropped+min(n, MaxCount), MaxCount)
		return false
	}
	return true
}

func (h *Held) finish(r Result, now time.Time) {
	if h.State != Lost {
		h.end(r, now)
		return
	}
	r.Reason = cutReason(r.Reason)
	h.Late = &r
}

func cutReason(s string) string {
	if len(s) <= MaxReason {
		return s
	}
	n := MaxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// SilenceAfter is how long after it was accepted, and again after it was
// started, an execution may be without an end before silence makes it lost, in service time.
func (s Spec) SilenceAfter() time.Duration { return s.RunTimeout + s.Grace + SilenceGrace }

// SlotsIn is how many executions of the lane a host takes at a time: as it
// declared, one if it named no number.
func SlotsIn(slots map[Lane]int, l Lane) int {
	if n, ok := slots[l]; ok {
		return n
	}
	return 1
}

// CompareLanes orders lanes as Lease serves them: urgent first, then by name.
func CompareLanes(a, b Lane) int {
	if (a == LaneUrgent) != (b == LaneUrgent) {
		if a == LaneUrgent {
			return -1
		}
		return 1
	}
	return cmp.Compare(a, b)
}
