package queue

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDs(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	a, b := NewJobID(at), NewJobID(at.Add(time.Millisecond))
	if a >= b {
		t.Errorf("the job of a millisecond later sorts first: %s, %s", a, b)
	}
	if c := NewJobID(at); c == a {
		t.Error("two jobs of the same millisecond have one id")
	}
	for _, id := range []JobID{a, b, NewJobID(time.UnixMilli(0))} {
		if err := id.Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []JobID{"", a[:25], a + "0", JobID(strings.ToUpper(string(a))), "w" + a[1:]} {
		if CodeOf(id.Validate()) != Invalid {
			t.Errorf("job id %q passes", id)
		}
	}
	for _, id := range []HostID{"a", "web-1.example.com", "A_b", HostID(strings.Repeat("x", 128))} {
		if err := id.Validate(); err != nil {
			t.Error(err)
		}
		x := NewExecutionID(a, id)
		if job, host, err := x.Split(); job != a || host != id || err != nil {
			t.Errorf("%q splits to %q, %q, %v", x, job, host, err)
		}
	}
	for _, id := range []HostID{"", "-a", ".a", "a b", "a/b", "ä", "a\n", HostID(strings.Repeat("x", 129))} {
		if CodeOf(id.Validate()) != Invalid {
			t.Errorf("host id %q passes", id)
		}
	}
	for _, x := range []ExecutionID{"", ExecutionID(a), ExecutionID(a + "."), ExecutionID(a + ":h"), ExecutionID(a + ".-h"), ExecutionID("." + a)} {
		if _, _, err := x.Split(); CodeOf(err) != Invalid {
			t.Errorf("execution id %q passes", x)
		}
	}
	for l, ok := range map[Lane]bool{LaneDefault: true, LaneUrgent: true, "a": true, "9-x": true, "": false, "-a": false, "A": false, "a.b": false, Lane(strings.Repeat("x", 33)): false} {
		if (l.Validate() == nil) != ok {
			t.Errorf("lane %q: %v", l, l.Validate())
		}
	}
}

// TestArrows spells the state table out again, apart from the code's table.
func TestArrows(t *testing.T) {
	table := map[State]string{
		Planned: "qce", Queued: "lce", Leased: "qajce", Accepted: "rsftcjx", Running: "sftcx",
	}
	for _, from := range States() {
		for _, to := range States() {
			if want := strings.ContainsRune(table[from], rune(to)); CanMove(from, to) != want {
				t.Errorf("CanMove(%v, %v) is %v", from, to, !want)
			}
		}
		if from.Terminal() != (table[from] == "") {
			t.Errorf("%v.Terminal() is %v", from, from.Terminal())
		}
		if got, err := ParseState(from.String()); got != from || err != nil {
			t.Errorf("ParseState(%q) is %v, %v", from.String(), got, err)
		}
	}
	if _, err := ParseState("gone"); CodeOf(err) != Invalid {
		t.Error(err)
	}
	if State('?').String() != "state(63)" {
		t.Error(State('?').String())
	}
	c := Counters{Planned: 1, Running: 2, Succeeded: 4, Failed: 8, TimedOut: 16, Lost: 32, Rejected: 64, Expired: 128, Cancelled: 256}
	if c.Total() != 511 || c.Done() != 508 || c.Failed() != 248 {
		t.Errorf("total %d, done %d, failed %d", c.Total(), c.Done(), c.Failed())
	}
}

func TestErrors(t *testing.T) {
	err := fmt.Errorf("outer: %w", Errorf(Unavailable, "store: %w", io.ErrUnexpectedEOF))
	if CodeOf(err) != Unavailable || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "outer: store: unexpected EOF" {
		t.Errorf("%v, code %q", err, CodeOf(err))
	}
	if CodeOf(nil) != "" || CodeOf(io.EOF) != "" {
		t.Error("nil or a foreign error has a code")
	}
}

func TestServiceClock(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	var c ServiceClock
	if c.At(start) != 0 {
		t.Error("an unticked clock isn't at 0")
	}
	for _, s := range []struct {
		after time.Duration // since the tick before
		want  time.Duration
	}{
		{0, 0},
		{10 * time.Second, 10 * time.Second},
		{time.Hour, 10*time.Second + MaxTick},  // an outage counts as one tick
		{-time.Hour, 10*time.Second + MaxTick}, // a step back stands still
		{MaxTick, 10*time.Second + 2*MaxTick},  // and goes on from there
		{time.Second, 11*time.Second + 2*MaxTick},
	} {
		start = start.Add(s.after)
		if got := c.At(start); got != s.want {
			t.Errorf("after %v: %v, want %v", s.after, got, s.want)
		}
		c = c.Tick(start)
	}
}

func TestNamesCanBeShown(t *testing.T) {
	spec := Spec{Name: "Täglich: 日本 🙂", Env: map[string]string{"A": "two\nlines\x1b\u202e"}}.WithDefaults()
	if err := spec.Validate(); err != nil {
		t.Error(err)
	}
	for _, r := range "\x00\t\n\x1b\x7f\u0085\u061c\u200e\u202a\u202e\u2066\u2069\u2028\u2029" {
		named := Spec{Name: "a" + string(r)}.WithDefaults()
		env := Spec{Env: map[string]string{"A" + string(r): ""}}.WithDefaults()
		for field, s := range map[string]Spec{"name: ": named, "env: ": env} {
			if err := s.Validate(); CodeOf(err) != Invalid || !strings.HasPrefix(err.Error(), field) || !strings.Contains(err.Error(), fmt.Sprintf("%U", r)) {
				t.Errorf("%s with %U: %v", field, r, err)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	valid := func() *NewJob {
		return &NewJob{Job: Job{ID: NewJobID(time.Now()), Spec: Spec{}.WithDefaults()}, Script: []byte("true"), Targets: []Target{{"a", 1}, {"b", 1}}}
	}
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*NewJob){
		"id":           func(n *NewJob) { n.Job.ID = "x" },
		"no script":    func(n *NewJob) { n.Script = nil },
		"large script": func(n *NewJob) { n.Script = make([]byte, MaxScript+1) },
		"no targets":   func(n *NewJob) { n.Targets = nil },
		"host":         func(n *NewJob) { n.Targets[0].Host = "" },
		"host twice":   func(n *NewJob) { n.Targets[1].Host = "a" },
		"key":          func(n *NewJob) { n.IdempotencyKey = strings.Repeat("x", MaxIdempotencyKey+1) },
		"env name":     func(n *NewJob) { n.Job.Spec.Env = map[string]string{"A=B": ""} },
		"env NUL":      func(n *NewJob) { n.Job.Spec.Env = map[string]string{"A": "\x00"} },
		"env controls": func(n *NewJob) { n.Job.Spec.Env = map[string]string{"A": strings.Repeat("\x1b", MaxEnv/5)} },
		"env size":     func(n *NewJob) { n.Job.Spec.Env = map[string]string{"A": strings.Repeat("x", MaxEnv)} },
		"name":         func(n *NewJob) { n.Job.Spec.Name = strings.Repeat("x", MaxName+1) },
		"dir":          func(n *NewJob) { n.Job.Spec.Dir = "tmp" },
		"user NUL":     func(n *NewJob) { n.Job.Spec.User = "a\x00" },
		"priority":     func(n *NewJob) { n.Job.Spec.Priority = MaxPriority + 1 },
		"pickup":       func(n *NewJob) { n.Job.Spec.PickupTimeout = time.Millisecond },
		"run_timeout":  func(n *NewJob) { n.Job.Spec.RunTimeout = MaxRunTimeout + 1 },
		"output_limit": func(n *NewJob) { n.Job.Spec.OutputLimit = MaxOutput + 1 },
		"grace":        func(n *NewJob) { n.Job.Spec.Grace = -1 },
		"lane":         func(n *NewJob) { n.Job.Spec.Lane = "Urgent" },
	} {
		n := valid()
		n.Targets = slices.Clone(n.Targets)
		spoil(n)
		if CodeOf(n.Validate()) != Invalid {
			t.Errorf("%s: %v, want Invalid", name, n.Validate())
		}
	}
}
