package client

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// notes is what an observer was told.
type notes struct {
	mu      sync.Mutex
	ended   []Ended
	polled  []Polled
	refused []string
}

func (n *notes) observer() *Observer {
	return &Observer{
		Ended:   func(e Ended) { n.mu.Lock(); defer n.mu.Unlock(); n.ended = append(n.ended, e) },
		Polled:  func(p Polled) { n.mu.Lock(); defer n.mu.Unlock(); n.polled = append(n.polled, p) },
		Refused: func(err error) { n.mu.Lock(); defer n.mu.Unlock(); n.refused = append(n.refused, err.Error()) },
	}
}

// TestObserverOfSockets: an attempt that is refused and a session that is closed are told apart.
func TestObserverOfSockets(t *testing.T) {
	var n notes
	var refuse atomic.Bool
	refuse.Store(true)
	bubble(t, 1, func(r *rig, cfg *Config) {
		cfg.Observer = n.observer()
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if refuse.CompareAndSwap(true, false) {
				fail(w, 503, "overloaded", "7")
				return true
			}
			return false
		}
	}, func(r *rig) {
		r.start()
		r.up(Socket)
		r.gates[0].active().close(wire.CloseOverload, wire.CloseReason(3*time.Second, "too much"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.ended) != 2 {
			t.Fatalf("told of %+v", n.ended)
		}
		a, s := n.ended[0], n.ended[1]
		if a.Opened || a.Fault != "refused" || a.Retry != 7*time.Second || a.Transport != Socket || a.Gateway != "http://g0" {
			t.Errorf("the attempt: %+v", a)
		}
		if !s.Opened || s.Fault != "asked" || s.Retry != 3*time.Second || s.Err == nil || !strings.Contains(s.Err.Error(), "too much") {
			t.Errorf("the session: %+v", s)
		}
	})
}

// TestObserverOfPolls: polls that aren't to be held, and a refusal that is sat out.
func TestObserverOfPolls(t *testing.T) {
	var n notes
	var away atomic.Bool
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		cfg.Observer, cfg.Timing.Wait = n.observer(), -1
		r.gates[0].retry = "20"
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if got := q.URL.Query().Get("wait"); got != "" && got != "0s" {
				t.Errorf("wait=%s", got)
			}
			if away.CompareAndSwap(true, false) {
				fail(w, 503, "unavailable", "15")
				return true
			}
			return false
		}
	}, func(r *rig) {
		r.start()
		r.up(Poll)
		time.Sleep(time.Minute)
		away.Store(true)
		time.Sleep(time.Minute)
		r.gates[0].submit(jobA)
		r.gates[0].waitFinished(jobA)
		n.mu.Lock()
		defer n.mu.Unlock()
		empty, refused, messages := 0, 0, 0
		for _, p := range n.polled {
			switch {
			case p.Hold != 0 || p.Took < 0:
				t.Errorf("%+v", p)
			case p.Status == 204 && p.Retry == 20*time.Second && p.Messages == 0:
				empty++
			case p.Status == 503 && p.Retry == 15*time.Second:
				refused++
			case p.Status == 200:
				messages += p.Messages
			}
		}
		if empty < 5 || refused != 1 || messages == 0 || len(n.refused) != 1 || !strings.Contains(n.refused[0], "unavailable") {
			t.Errorf("%d empty, %d refused, %d messages; %q", empty, refused, messages, n.refused)
		}
	})
}

// TestWaysAreShared: links that share their ways work like any, and one that ends leaves the others alone.
func TestWaysAreShared(t *testing.T) {
	if _, err := NewWays(nil, Network{}); err == nil {
		t.Error("no gateway was taken")
	}
	var other *Link
	bubble(t, 1, func(r *rig, cfg *Config) {
		ways, err := NewWays(cfg.Gateways, cfg.Network)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Ways, cfg.Gateways, cfg.Network = ways, nil, Network{}
		if other, err = NewLink(Config{Ways: ways, Identity: r.id, Mode: ModePoll}); err != nil {
			t.Fatal(err)
		}
	}, func(r *rig) {
		r.start()
		r.gates[0].active()
		// The same host, so that the first is superseded, and comes back when the other has gone.
		r.gates[0].submit(jobA)
		r.gates[0].waitFinished(jobA)
		if err := other.RunOnce(r.t.Context(), newAgent(t), 0); err != nil {
			t.Error(err)
		}
		r.up(Socket)
		r.gates[0].submit(jobB)
		r.gates[0].waitFinished(jobB)
	})
}

// TestRegister enrols under a key that is kept elsewhere.
func TestRegister(t *testing.T) {
	e := newEnrolGate(t)
	url := "http://127.0.0.1:" + serve(t, e.gate, nil)
	e.mint(t, url, "")
	e.busy.Store(1) // it asks to come back once
	ways, err := NewWays([]string{url}, Network{Proxy: "direct"})
	if err != nil {
		t.Fatal(err)
	}
	defer ways.CloseIdle()
	_, key, _ := ed25519.GenerateKey(nil)
	answer, err := Register(t.Context(), ways, e.token, "web-1", key)
	if err != nil || answer.Host != "web-1" || answer.Incarnation != 3 {
		t.Errorf("%+v, %v", answer, err)
	}
	if !key.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(e.last.PublicKey)) {
		t.Error("it was enrolled under another key")
	}
	e.refuse = 409
	var refused *RefusedError
	if _, err := Register(t.Context(), ways, e.token, "web-1", key); !errors.As(err, &refused) || refused.Status != 409 {
		t.Errorf("refused: %v", err)
	}
	if _, err := Register(t.Context(), ways, "junk", "web-1", key); err == nil {
		t.Error("what isn't a token was taken")
	}
}
