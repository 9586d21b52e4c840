package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/session/wire"
)

// rig is a link, its peer and some gates, in a bubble of synctest.
type rig struct {
	t     *testing.T
	net   *pipes
	gates []*gate
	agent *agent
	link  *Link
	id    *HostIdentity
	logs  *syncBuffer
	stop  context.CancelFunc
	ended chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// bubble runs a test with gates g0, g1, ... that setup may change before the link starts.
func bubble(t *testing.T, gates int, setup func(r *rig, cfg *Config), test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: newPipes(), agent: newAgent(t), logs: &syncBuffer{}, ended: make(chan error, 1)}
		pub, key, _ := ed25519.GenerateKey(nil)
		r.id = NewIdentity("web-1", key)
		cfg := Config{Identity: r.id, Network: Network{Proxy: "direct", Dial: r.net.dial}, Log: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		for i := range gates {
			g := newGate(t)
			g.key = pub
			r.gates = append(r.gates, g)
			cfg.Gateways = append(cfg.Gateways, fmt.Sprintf("http://g%d", i))
		}
		if setup != nil {
			setup(r, &cfg)
		}
		for i, g := range r.gates {
			l := r.net.listen(fmt.Sprintf("g%d:80", i))
			go g.server.Serve(l)
		}
		link, err := NewLink(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.link = link
		defer func() {
			if t.Failed() {
				log := r.logs.String()
				t.Logf("log:\n%s", log[:min(len(log), 4000)])
			}
			if r.stop != nil {
				r.end()
			}
			for _, g := range r.gates {
				g.server.Close()
				g.mu.Lock()
				var conns []*gateConn
				for c := range g.conns {
					conns = append(conns, c)
				}
				g.mu.Unlock()
				for _, c := range conns {
					c.conn.CloseNow()
				}
			}
		}()
		test(r)
	})
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.link.Run(ctx, r.agent) }()
}

// up waits for a session over a transport.
func (r *rig) up(tr Transport) Status {
	r.t.Helper()
	for range 1000 {
		if st := r.link.Status(); st.Up && st.Transport == tr {
			return st
		}
		time.Sleep(time.Second)
	}
	r.t.Fatalf("no session over the %s: %+v", tr, r.link.Status())
	return Status{}
}

// end ends the link, and checks that it ends well and in time.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	r.stop = nil
	start := time.Now()
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run returned %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		r.t.Errorf("Run took %v to end", took)
	}
}

// startedOnce checks that each job was started once, whatever was cut.
func (r *rig) startedOnce(execs ...string) {
	r.t.Helper()
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	for _, x := range execs {
		if run := r.agent.xs[x]; run == nil || run.gos != 1 {
			r.t.Errorf("%s: %+v, want one start", x, run)
		}
	}
}

const (
	jobA = "0123456789012345678901234a.web-1"
	jobB = "0123456789012345678901234b.web-1"
)

func names(n int) (xs []string) {
	for i := range n {
		xs = append(xs, fmt.Sprintf("012345678901234567890123%02d.web-1", i))
	}
	return xs
}

func TestSocketCarries(t *testing.T) {
	bubble(t, 1, nil, func(r *rig) {
		g := r.gates[0]
		g.submit(jobA)
		r.start()
		g.waitFinished(jobA)
		g.submit(names(20)...)
		g.waitFinished(names(20)...)
		r.startedOnce(names(20)...)
		if st := r.link.Status(); !st.Up || st.Transport != Socket || st.Gateway != "http://g0" || st.Session != 1 {
			t.Errorf("status %+v", st)
		}
		if n := r.agent.mostOnWay(); n > g.credit {
			t.Errorf("%d bytes on the way, credit %d", n, g.credit)
		}
		r.end()
		g.wait("the close", func() bool { return strings.HasPrefix(g.requests[len(g.requests)-1], "socket ended: 1000") })
		if st := r.link.Status(); st.Up {
			t.Errorf("status %+v after the end", st)
		}
	})
}

func TestPollCarries(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) { cfg.Mode = ModePoll }, func(r *rig) {
		g := r.gates[0]
		g.submit(jobA)
		r.start()
		g.waitFinished(jobA)
		g.submit(names(20)...)
		g.waitFinished(names(20)...)
		r.startedOnce(names(20)...)
		if st := r.link.Status(); !st.Up || st.Transport != Poll {
			t.Errorf("status %+v", st)
		}
		for _, q := range g.asked() {
			if strings.Contains(q, wire.PathSocket) {
				t.Errorf("mode poll made %s", q)
			}
		}
	})
}

func TestLargeOutputStaysWithinFrames(t *testing.T) {
	for _, mode := range []Mode{ModeSocket, ModePoll} {
		bubble(t, 1, func(r *rig, cfg *Config) {
			cfg.Mode = mode
			r.agent.chunks, r.agent.size = 100, wire.MaxChunk
			r.gates[0].credit = 1 << 20
		}, func(r *rig) {
			r.gates[0].submit(jobA)
			r.start()
			r.gates[0].waitFinished(jobA)
		})
	}
}

func TestCreditIsRaisedWhileBlocked(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) { r.agent.chunks, r.agent.size = 50, 1000 }, func(r *rig) {
		g := r.gates[0]
		g.credit = 1 // one event at a time
		r.start()
		c := g.active()
		g.submit(jobA)
		g.waitFinished(jobA)
		g.mu.Lock()
		g.credit = 64 << 10
		g.mu.Unlock()
		c.write(&wire.Credit{Bytes: 64 << 10})
		g.submit(jobB)
		g.waitFinished(jobB)
		if n := r.agent.mostOnWay(); n < 8<<10 {
			t.Errorf("at most %d bytes were on the way with a credit of 64 KiB", n)
		}
	})
}

func TestUpgradeRefused(t *testing.T) {
	for _, status := range []int{200, 204, 302, 400, 403, 404, 405, 426, 500, 502, 504} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, 1, func(r *rig, cfg *Config) {
				r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
					if q.URL.Path == wire.PathSocket {
						w.Header().Set("Location", "http://portal/")
						w.WriteHeader(status)
						return true
					}
					return false
				}
			}, func(r *rig) {
				start := time.Now()
				r.gates[0].submit(jobA)
				r.start()
				r.gates[0].waitFinished(jobA)
				if took := time.Since(start); took > 0 {
					t.Errorf("the poll was taken after %v, not at once", took)
				}
			})
		})
	}
}

func TestRefusalIsNoTransportFailure(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
	}{{401, "unauthenticated"}, {403, "revoked"}, {429, "rate_limited"}, {503, "overloaded"}} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			bubble(t, 2, func(r *rig, cfg *Config) {
				r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
					fail(w, c.status, c.code, "7")
					return true
				}
			}, func(r *rig) {
				r.start()
				r.gates[1].active()
				if st := r.link.Status(); st.Gateway != "http://g1" || st.Transport != Socket {
					t.Errorf("status %+v", st)
				}
				for _, q := range r.gates[0].asked() {
					if !strings.Contains(q, wire.PathSocket) {
						t.Errorf("%s", q)
					}
				}
			})
		})
	}
}

func TestRetryAfterIsObeyedByReconnects(t *testing.T) {
	var times []time.Time
	bubble(t, 1, func(r *rig, cfg *Config) {
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			times = append(times, time.Now())
			if len(times) > 3 {
				return false
			}
			fail(w, 503, "overloaded", fmt.Sprint(100*len(times)))
			return true
		}
	}, func(r *rig) {
		r.start()
		r.gates[0].active()
		for i, want := range []time.Duration{100 * time.Second, 200 * time.Second, 300 * time.Second} {
			if d := times[i+1].Sub(times[i]); d != want {
				t.Errorf("attempt %d came after %v, want %v", i+1, d, want)
			}
		}
	})
}

func TestUnknownHostIsLoggedOnceAndRetriedSlowly(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) {
		r.gates[0].key, _, _ = ed25519.GenerateKey(nil)
	}, func(r *rig) {
		r.start()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := strings.Count(r.logs.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors logged:\n%s", n, r.logs)
		}
		if n := len(r.gates[0].asked()); n < 20 || n > 120 {
			t.Errorf("%d attempts in two hours", n)
		}
	})
}

func TestWrongClock(t *testing.T) {
	for _, mode := range []Mode{ModeSocket, ModePoll} {
		for _, off := range []time.Duration{-1000 * time.Hour, 1000 * time.Hour} {
			bubble(t, 1, func(r *rig, cfg *Config) {
				cfg.Mode = mode
				r.gates[0].clock = func() time.Time { return time.Now().Add(off) }
			}, func(r *rig) {
				start := time.Now()
				r.gates[0].submit(jobA)
				r.start()
				r.gates[0].waitFinished(jobA)
				if time.Since(start) > 0 {
					t.Errorf("%s: took %v", mode, time.Since(start))
				}
			})
		}
	}
}

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
	})
}

func TestUpgradeWithoutFramesTakesThePoll(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) {
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path != wire.PathSocket {
				return false
			}
			c, err := websocket.Accept(w, q, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
			if err != nil {
				return true
			}
			defer c.CloseNow()
			for { // reads, and says nothing
				if _, _, err := c.Read(q.Context()); err != nil {
					return true
				}
			}
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
