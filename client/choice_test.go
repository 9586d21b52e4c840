package client

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func newTestChoice(mode Mode, gateways int, rnd float64) *choice {
	return newChoice(mode, Timing{}.withDefaults(), gateways, func() float64 { return rnd })
}

// attempt lets the next step fail, and tells when it was due, as time from now.
func attempt(c *choice, now *time.Time, o outcome) (step, time.Duration) {
	st := c.next(*now)
	wait := max(st.at.Sub(*now), 0)
	*now = now.Add(wait)
	c.ended(*now, o)
	return st, wait
}

func TestBackoffIsCappedFirstAndThenJittered(t *testing.T) {
	now := time.Unix(1e9, 0)
	lo, hi := newTestChoice(ModeAuto, 1, 0), newTestChoice(ModeAuto, 1, math.Nextafter(1, 0))
	for i := range 40 {
		fail := failed(faultUnreachable, nil)
		if _, wait := attempt(lo, &now, fail); wait != 0 {
			t.Errorf("attempt %d: at least %v; the jitter is full, also at the cap", i, wait)
		}
		n := now
		want := min(time.Second<<min(max(i-1, 0), 20), 5*time.Minute)
		if i == 0 {
			want = 0
		}
		if _, wait := attempt(hi, &n, fail); (wait - want).Abs() > time.Millisecond {
			t.Errorf("attempt %d: at most %v, want %v", i, wait, want)
		}
		now = n
	}
}

func TestBackoffIsResetByAStableSessionOnly(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newTestChoice(ModeAuto, 1, math.Nextafter(1, 0))
	for range 20 {
		attempt(c, &now, failed(faultUnreachable, nil))
	}
	session := func(lasts time.Duration) time.Duration {
		now = c.next(now).at
		c.up(now)
		now = now.Add(lasts)
		c.ended(now, outcome{fault: faultAsked, retry: -1})
		return c.next(now).at.Sub(now)
	}
	if wait := session(59 * time.Second); wait < 4*time.Minute {
		t.Errorf("after a short session: %v", wait)
	}
	if wait := session(61 * time.Second); wait > time.Second {
		t.Errorf("after a stable session: %v", wait)
	}
}

func TestRoundsGoThroughAllGateways(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newTestChoice(ModeAuto, 4, math.Nextafter(1, 0))
	var total time.Duration
	for i := range 8 {
		st, wait := attempt(c, &now, failed(faultUnreachable, nil))
		if st.gateway != i%4 {
			t.Errorf("attempt %d: gateway %d", i, st.gateway)
		}
		total += wait
	}
	if total > 4*time.Second+3*2*time.Second {
		t.Errorf("two rounds took %v", total)
	}
}

func TestRetryAfterIsForItsGateway(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newTestChoice(ModeAuto, 2, 0.5)
	refused := func(d time.Duration) outcome { return outcome{fault: faultRefused, retry: d} }
	start := now
	if st, _ := attempt(c, &now, refused(100*time.Second)); st.gateway != 0 {
		t.Fatal(st)
	}
	if st, wait := attempt(c, &now, refused(30*time.Second)); st.gateway != 1 || wait > time.Second {
		t.Fatal(st, wait)
	}
	second := now
	if st, _ := attempt(c, &now, refused(500*time.Second)); st.gateway != 1 || now.Sub(second) != 30*time.Second {
		t.Fatal(st, now.Sub(second))
	}
	if st, _ := attempt(c, &now, refused(time.Second)); st.gateway != 0 || now.Sub(start) != 100*time.Second {
		t.Fatal(st, now.Sub(start))
	}
}

func TestSocketBrokenMeansPollAtOnce(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newTestChoice(ModeAuto, 3, 0.5)
	attempt(c, &now, failed(faultSocketBroken, nil))
	if st := c.next(now); st.transport != Poll || st.gateway != 0 || st.at.After(now) {
		t.Errorf("%+v", st)
	}
	for _, mode := range []Mode{ModeSocket} {
		c := newTestChoice(mode, 3, 0.5)
		attempt(c, &now, failed(faultSocketBroken, nil))
		if st := c.next(now); st.transport != Socket || st.gateway != 1 || !st.at.After(now) {
			t.Errorf("%s: %+v", mode, st)
		}
	}
}

func TestHandshakesThatAreCut(t *testing.T) {
	now := time.Unix(1e9, 0)
	half := failed(faultHalf, nil)
	for name, c := range map[string]struct {
		between []outcome
		want    Transport
	}{
		"again":             {nil, Poll},
		"gateway restarted": {[]outcome{failed(faultUnreachable, nil)}, Poll},
		"refused meanwhile": {[]outcome{failed(faultRefused, nil)}, Socket},
	} {
		ch := newTestChoice(ModeAuto, 2, 0.5)
		attempt(ch, &now, half)
		if st := ch.next(now); st.transport != Socket || st.gateway != 1 {
			t.Errorf("after the first: %+v", st)
		}
		for _, o := range c.between {
			attempt(ch, &now, o)
		}
		attempt(ch, &now, half)
		if st := ch.next(now); st.transport != c.want || c.want == Poll && st.at.After(now) {
			t.Errorf("%s: %+v", name, st)
		}
	}
	// A session in between begins the count anew.
	ch := newTestChoice(ModeAuto, 1, 0.5)
	for range 5 {
		attempt(ch, &now, half)
		now = ch.next(now).at
		ch.up(now)
		now = now.Add(time.Hour)
		ch.ended(now, outcome{fault: faultAsked, retry: 0})
	}
	if st := ch.next(now); st.transport != Socket {
		t.Errorf("%+v", st)
	}
}

func TestPollThatFailsTooAcquitsTheSocket(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newTestChoice(ModeAuto, 1, 0.5)
	attempt(c, &now, failed(faultSocketBroken, nil))
	attempt(c, &now, failed(faultUnreachable, nil))
	if st := c.next(now); st.transport != Socket {
		t.Errorf("%+v", st)
	}
	// But once the poll has worked, an outage changes nothing.
	attempt(c, &now, failed(faultSocketBroken, nil))
	now = c.next(now).at
	c.up(now)
	c.ended(now, failed(faultUnreachable, nil))
	attempt(c, &now, failed(faultUnreachable, nil))
	if st := c.next(now); st.transport != Poll {
		t.Errorf("%+v", st)
	}
}

func TestCuts(t *testing.T) {
	for _, c := range []struct {
		name    string
		each    time.Duration // length of the sessions
		between fault         // an attempt in between that fails so
		want    Transport
	}{
		{"often", time.Minute, faultNone, Poll},
		{"at the window's edge", 8 * time.Minute, faultNone, Socket},
		{"rarely", time.Hour, faultNone, Socket},
		{"by outages of the gateway", time.Minute, faultUnreachable, Socket},
		{"by restarts of the gateway", time.Minute, faultRefused, Socket},
	} {
		now := time.Unix(1e9, 0)
		ch := newTestChoice(ModeAuto, 1, 0.5)
		for range 3 {
			st := ch.next(now)
			if st.at.After(now) {
				now = st.at
			}
			ch.up(now)
			now = now.Add(c.each)
			ch.ended(now, failed(faultCut, nil))
			if c.between != faultNone {
				attempt(ch, &now, failed(c.between, nil))
			}
		}
		if st := ch.next(now); st.transport != c.want {
			t.Errorf("cut %s: %+v", c.name, st)
		}
	}
}

func TestSocketThatHoldsOnlyAsStandbyIsTrustedMoreSlowly(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newTestChoice(ModeAuto, 1, 0.5)
	attempt(c, &now, failed(faultSocketBroken, nil))
	last := time.Duration(0)
	for i := range 4 {
		wait := c.probe().at.Sub(now)
		if i > 0 && wait < last*3/2 {
			t.Errorf("probe %d comes after %v, the one before after %v", i, wait, last)
		}
		last = wait
		now = now.Add(wait)
		c.took(now, 0)
		for range 3 {
			now = now.Add(time.Minute)
			c.ended(now, failed(faultCut, nil))
			if c.next(now).transport == Socket {
				c.up(now)
			}
		}
		if st := c.next(now); st.transport != Poll {
			t.Fatalf("%+v", st)
		}
	}
}

func TestAskedToComeBackAgainAndAgainIsNoBusyLoop(t *testing.T) {
	now := time.Unix(1e9, 0)
	start := now
	c := newTestChoice(ModeAuto, 2, 0.5)
	for range 30 {
		st := c.next(now)
		if st.at.After(now) {
			now = st.at
		}
		c.up(now)
		c.ended(now, outcome{fault: faultAsked, retry: 0})
	}
	if d := now.Sub(start); d < 10*time.Minute {
		t.Errorf("30 sessions in %v", d)
	}
}

// TestChoiceHolds checks, for any course of things, what must always hold.
func TestChoiceHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]Mode{ModeAuto, ModeSocket, ModePoll}).Draw(t, "mode")
		n := rapid.IntRange(1, 4).Draw(t, "gateways")
		c := newChoice(mode, Timing{}.withDefaults(), n, func() float64 { return rapid.Float64Range(0, 0.999).Draw(t, "jitter") })
		now := time.Unix(1e9, 0)
		refusedUntil := make([]time.Time, n)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			st := c.next(now)
			if st2 := c.next(now); st2 != st {
				t.Fatalf("next isn't stable: %+v, %+v", st, st2)
			}
			if mode == ModeSocket && st.transport != Socket || mode == ModePoll && st.transport != Poll {
				t.Fatalf("mode %s: %+v", mode, st)
			}
			if st.at.After(now.Add(maxRetryAfter)) {
				t.Fatalf("asleep for %v", st.at.Sub(now))
			}
			if st.at.After(now) {
				now = st.at
			}
			if now.Before(refusedUntil[st.gateway]) {
				t.Fatalf("back at gateway %d before its time", st.gateway)
			}
			if rapid.Bool().Draw(t, "up") {
				c.up(now)
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "lasts")))
			}
			f := rapid.SampledFrom([]fault{faultUnreachable, faultRefused, faultAsked, faultCut, faultHalf, faultSocketBroken}).Draw(t, "fault")
			o := outcome{fault: f, retry: -1, slow: f == faultRefused && rapid.Bool().Draw(t, "slow")}
			if rapid.Bool().Draw(t, "says") {
				o.retry = time.Duration(rapid.Int64Range(0, 3600).Draw(t, "retry")) * time.Second
			}
			c.ended(now, o)
			if f == faultRefused && o.retry > 0 {
				refusedUntil[st.gateway] = now.Add(o.retry)
			}
			if len(c.cuts) > c.t.CutLimit {
				t.Fatalf("%d cuts kept", len(c.cuts))
			}
			if mode == ModeAuto && st.transport == Socket && f == faultSocketBroken {
				if next := c.next(now); next.transport != Poll {
					t.Fatalf("the socket is broken: %+v", next)
				}
			}
		}
	})
}

func TestProbeTimesInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestChoice(ModeAuto, 2, 0.999)
		c.ended(time.Now(), failed(faultSocketBroken, nil))
		for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
			start := time.Now()
			p := c.probe()
			if !sleepUntil(t.Context(), p.at) {
				t.Fatal("ended")
			}
			if d := time.Since(start); d > want || d < want/2 {
				t.Errorf("probed after %v, want up to %v", d, want)
			}
			c.probeEnded(time.Now(), failed(faultSocketBroken, nil))
		}
		// A gateway that says when is obeyed.
		c.probeEnded(time.Now(), outcome{fault: faultRefused, retry: 50 * time.Minute})
		if d := time.Until(c.probe().at); d != 50*time.Minute {
			t.Errorf("next probe after %v", d)
		}
	})
}
