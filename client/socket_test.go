package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/session/wire"
)

func TestCloseCodes(t *testing.T) {
	for _, c := range []struct {
		code     wire.CloseCode
		reason   string
		terminal bool
		back     [2]time.Duration
	}{
		{wire.CloseDrain, "retry=42; going", false, [2]time.Duration{42 * time.Second, 42 * time.Second}},
		{wire.CloseOverload, "", false, [2]time.Duration{0, time.Second}},
		{wire.CloseExpired, "", false, [2]time.Duration{0, time.Second}},
		{4321, "retry=7; a code of a later version", false, [2]time.Duration{7 * time.Second, 7 * time.Second}},
		{1001, "", false, [2]time.Duration{0, time.Second}},
		{wire.CloseRevoked, "gone", true, [2]time.Duration{}},
		{4876, "a code of a later version", true, [2]time.Duration{}},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			bubble(t, 1, nil, func(r *rig) {
				g := r.gates[0]
				r.start()
				conn := g.active()
				start := time.Now()
				conn.close(c.code, c.reason)
				if c.terminal {
					err := <-r.ended
					r.stop()
					r.stop = nil
					var te *TerminalError
					if !errors.As(err, &te) || te.Code != c.code || te.Reason != c.reason {
						t.Errorf("Run returned %v", err)
					}
					return
				}
				g.wait("a second hello", func() bool { return len(g.hellos) == 2 })
				if d := time.Since(start); d < c.back[0] || d > c.back[1] {
					t.Errorf("came back after %v, want %v", d, c.back)
				}
				if st := r.link.Status(); st.Transport != Socket {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

func TestDrain(t *testing.T) {
	bubble(t, 2, func(r *rig, cfg *Config) { r.agent.chunks = 30 }, func(r *rig) {
		r.start()
		c := r.gates[0].active()
		time.Sleep(2 * time.Minute) // stable
		start := time.Now()
		c.write(&wire.Drain{Within: (10 * time.Minute).Milliseconds()})
		r.gates[0].submit(jobA) // is still served
		r.gates[0].waitFinished(jobA)
		r.gates[1].active()
		if d := time.Since(start); d > 10*time.Minute || d == 0 {
			t.Errorf("left after %v", d)
		}
		synctest.Wait() // the other gateway may be there before this one has noticed
		if q := r.gates[0].asked(); q[len(q)-1] != "socket ended: 1000" {
			t.Errorf("the socket ended with %s", q[len(q)-1])
		}
	})
}

func TestHalfOpenIsNoticed(t *testing.T) {
	bubble(t, 1, nil, func(r *rig) {
		g := r.gates[0]
		r.start()
		r.up(Socket)
		time.Sleep(time.Minute) // some pongs came
		r.net.frozen.Store(true)
		start := time.Now()
		for r.link.Status().Up {
			time.Sleep(time.Second)
		}
		if d := time.Since(start); d > g.dead+time.Second {
			t.Errorf("noticed after %v", d)
		}
		if st := r.link.Status(); st.Transport != Socket {
			t.Errorf("status %+v", st)
		}
		r.net.frozen.Store(false)
		g.submit(jobA)
		g.waitFinished(jobA)
	})
}

func TestNoPongEverTakesThePoll(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) {
		cfg.OnStatus = func(st Status) { r.net.frozen.Store(st.Up && st.Transport == Socket) }
	}, func(r *rig) {
		g := r.gates[0]
		r.start()
		r.up(Poll)
		g.submit(jobA)
		g.waitFinished(jobA)
		if n := strings.Count(strings.Join(g.asked()[:4], " "), wire.PathSocket); n != 1 {
			t.Errorf("the first requests were %q", g.asked()[:4])
		}
	})
}

// swallow upgrades, and then reads and says nothing.
func swallow(w http.ResponseWriter, q *http.Request) {
	c, err := websocket.Accept(w, q, &websocket.AcceptOptions{
		Subprotocols:   []string{wire.Subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { return false },
	})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for err == nil {
		_, _, err = c.Read(context.Background())
	}
}

func TestUpgradeWithoutFramesTakesThePoll(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) {
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path != wire.PathSocket {
				return false
			}
			swallow(w, q)
			return true
		}
	}, func(r *rig) {
		start := time.Now()
		r.gates[0].submit(jobA)
		r.start()
		r.gates[0].waitFinished(jobA)
		if d := time.Since(start); d > 25*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestCutAgainAndAgainTakesThePoll(t *testing.T) {
	bubble(t, 1, nil, func(r *rig) {
		g := r.gates[0]
		r.start()
		for i := range 3 {
			c := g.active()
			time.Sleep(4 * time.Minute)
			if st := r.link.Status(); st.Transport != Socket {
				t.Fatalf("after %d cuts: %+v", i, st)
			}
			g.mu.Lock()
			g.owner = nil
			g.mu.Unlock()
			c.conn.CloseNow()
		}
		g.submit(jobA)
		g.waitFinished(jobA)
		if st := r.link.Status(); st.Transport != Poll {
			t.Errorf("status %+v", st)
		}
	})
}

func TestGatewayGoneGoesToTheNext(t *testing.T) {
	bubble(t, 3, func(r *rig, cfg *Config) { cfg.Gateways[1] = "http://nobody" }, func(r *rig) {
		r.start()
		c := r.gates[0].active()
		r.net.mu.Lock()
		r.net.listeners["g0:80"].Close()
		r.net.mu.Unlock()
		start := time.Now()
		c.conn.CloseNow()
		r.gates[2].active()
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestStateIsRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "link.json")
	setup := func(r *rig, cfg *Config) {
		cfg.StateFile = file
		for _, g := range r.gates {
			g.hook = func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == wire.PathSocket || g == r.gates[0] {
					w.WriteHeader(http.StatusBadGateway)
					return true
				}
				return false
			}
		}
	}
	bubble(t, 2, setup, func(r *rig) {
		r.start()
		r.gates[1].wait("a poll", func() bool { return len(r.gates[1].hellos) > 0 })
		synctest.Wait()
	})
	bubble(t, 2, setup, func(r *rig) {
		r.start()
		r.gates[1].wait("a poll", func() bool { return len(r.gates[1].hellos) > 0 })
		if n := len(r.gates[0].asked()); n > 0 {
			t.Errorf("%d requests to the gateway that didn't work", n)
		}
		if q := r.gates[1].asked()[0]; !strings.Contains(q, wire.PathMessages) {
			t.Errorf("began with %s", q)
		}
	})
}

func TestPeerFailureEndsRun(t *testing.T) {
	for _, mode := range []Mode{ModeSocket, ModePoll} {
		bubble(t, 1, func(r *rig, cfg *Config) { cfg.Mode = mode }, func(r *rig) {
			broken := errors.New("disk full")
			r.agent.failPull = broken
			r.start()
			err := <-r.ended
			r.stop()
			r.stop = nil
			if !errors.Is(err, broken) {
				t.Errorf("%s: Run returned %v", mode, err)
			}
		})
	}
}
