package queue

import (
	"strings"
	"testing"
	"time"
)

func TestWithdraw(t *testing.T) {
	for _, state := range States() {
		h := held(state, 0)
		before := h
		h.Withdraw(WhyOffline, testNow)
		switch state {
		case Planned, Queued:
			want := Result{Outcome: Cancelled, ExitCode: -1, Reason: WhyOffline, At: testNow}
			if h.State != Cancelled || h.Result != want || !h.FinishedAt.Equal(testNow) || !h.CancelledAt.IsZero() {
				t.Errorf("%v becomes %+v", state, h)
			}
		case Leased:
			if h.State != Leased || !h.CancelledAt.Equal(testNow) {
				t.Errorf("%v becomes %+v", state, h)
			}
		default:
			if h != before {
				t.Errorf("%v becomes %+v", state, h)
			}
		}
	}
}

// TestWithdrawLeased tells how a flagged lease ends, and that the first reason stays.
func TestWithdrawLeased(t *testing.T) {
	why := WhySuperseded("job-2")
	flagged := held(Leased, 0)
	flagged.Withdraw(why, testNow)
	again := flagged
	again.Withdraw(WhySuperseded("job-3"), testNow.Add(time.Minute))
	if again != flagged {
		t.Errorf("withdrawn twice: %+v", again)
	}
	lapsed := flagged
	lapsed.EndLease(testNow)
	accepted := flagged
	ack, _ := accepted.Record([]Event{{Seq: 1, Kind: EventAccepted, Token: "t", Position: 7}}, "g", testNow)
	if ack.Verdict != VerdictForget || ack.Reason != ReasonCancelled {
		t.Errorf("accepted after it was withdrawn: %+v", ack)
	}
	for how, h := range map[string]Held{"lapsed": lapsed, "accepted": accepted} {
		if h.State != Cancelled || h.Result.Reason != why {
			t.Errorf("%s: %v, %+v", how, h.State, h.Result)
		}
	}
	byOperator := held(Leased, 0)
	byOperator.Cancel("ann", testNow)
	byOperator.Withdraw(why, testNow)
	if byOperator.EndLease(testNow); byOperator.Result.Reason != "cancelled by ann" {
		t.Errorf("cancelled, then superseded: %+v", byOperator.Result)
	}
}

func TestSupersedeScope(t *testing.T) {
	scope := func(by, key string) string { return Job{CreatedBy: by, Spec: Spec{SupersedeKey: key}}.SupersedeScope() }
	if scope("ann", "") != "" {
		t.Error("no key has a scope")
	}
	if one, two := scope("ann", "k"), scope("ann", "k"); one != two {
		t.Errorf("one key, two scopes: %q, %q", one, two)
	}
	seen := map[string]string{}
	for _, c := range [][2]string{{"ann", "k"}, {"bob", "k"}, {"ann", "K"}, {"annk", "k"}, {"an", "nk"}, {"", "annk"}} {
		s := scope(c[0], c[1])
		if s == "" || seen[s] != "" {
			t.Errorf("%q has the scope %q of %s", c, s, seen[s])
		}
		seen[s] = c[0] + " " + c[1]
	}
}

func TestNewer(t *testing.T) {
	at := func(ms int, id JobID) Job {
		return Job{ID: id, CreatedAt: testNow.Add(time.Duration(ms) * time.Millisecond)}
	}
	jobs := []Job{at(0, "b"), at(0, "c"), at(1, "a"), at(2, "a")} // by age
	for i, a := range jobs {
		for k, b := range jobs {
			if a.Newer(b) != (i > k) {
				t.Errorf("%v newer than %v: %v", a, b, a.Newer(b))
			}
		}
	}
}

func TestPolicyValidate(t *testing.T) {
	good := Spec{Offline: OfflineSkip, SupersedeKey: strings.Repeat("ü", MaxSupersedeKey/2), Recheck: "role in (web),!retired"}.WithDefaults()
	if err := good.Validate(); err != nil || good.Offline != OfflineSkip {
		t.Error(err)
	}
	if s := (Spec{}).WithDefaults(); s.Offline != OfflineWait {
		t.Errorf("the default is %q", s.Offline)
	}
	for want, spoil := range map[string]func(*Spec){
		"offline: ":                 func(s *Spec) { s.Offline = "never" },
		`offline: ""`:               func(s *Spec) { s.Offline = "" },
		"supersede_key: 201 bytes":  func(s *Spec) { s.SupersedeKey = strings.Repeat("x", MaxSupersedeKey+1) },
		"supersede_key: contains U": func(s *Spec) { s.SupersedeKey = "a\u202e" },
		"recheck: the selector has": func(s *Spec) { s.Recheck = "a=" + strings.Repeat("x", MaxRecheck) },
		"selector":                  func(s *Spec) { s.Recheck = "role in (" },
	} {
		s := good
		spoil(&s)
		if err := s.Validate(); CodeOf(err) != Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}
