package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

func TestSocketCarries(t *testing.T) {
	bubble(t, 1, nil, func(r *rig) {
		g := r.gates[0]
		r.carries()
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

// carries runs one job, and then many at once.
func (r *rig) carries() {
	r.t.Helper()
	g := r.gates[0]
	g.submit(jobA)
	r.start()
	g.waitFinished(jobA)
	g.submit(names(20)...)
	g.waitFinished(names(20)...)
	r.startedOnce(names(20)...)
}

func TestPollCarries(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) { cfg.Mode = ModePoll }, func(r *rig) {
		r.carries()
		if st := r.link.Status(); !st.Up || st.Transport != Poll {
			t.Errorf("status %+v", st)
		}
		for _, q := range r.gates[0].asked() {
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
	}{{401, "unauthenticated"}, {403, "forbidden"}, {429, "rate_limited"}, {503, "overloaded"}} {
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

// hangUp ends a request's connection without an answer.
func hangUp(t *testing.T, w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	conn.Close()
}

// TestHandshakeCut once is a gateway that goes; each time, it is something that kills upgrades.
func TestHandshakeCut(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "each time": math.MaxInt} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(r *rig, cfg *Config) {
				cut := 0
				r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
					if q.URL.Path != wire.PathSocket || cut == times {
						return false
					}
					cut++
					hangUp(t, w)
					return true
				}
			}, func(r *rig) {
				start := time.Now()
				r.gates[0].submit(jobA)
				r.start()
				r.gates[0].waitFinished(jobA)
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
				want := Socket
				if times > 1 {
					want = Poll
				}
				if st := r.link.Status(); st.Transport != want {
					t.Errorf("status %+v", st)
				}
				if says := strings.Contains(r.logs.String(), "polling instead"); says != (want == Poll) {
					t.Errorf("log: %s", r.logs)
				}
			})
		})
	}
}

// TestRefusedWithoutADocument by a balancer in front of a gateway that restarts: the agent
// waits and comes back with the socket.
func TestRefusedWithoutADocument(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) {
		n := 0
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if n++; n > 3 {
				return false
			}
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return true
		}
	}, func(r *rig) {
		r.start()
		r.gates[0].active()
		for _, q := range r.gates[0].asked() {
			if strings.Contains(q, "poll") {
				t.Error(q)
			}
		}
	})
}

// TestRevokedEndsRun however the gateway says so: at an upgrade, a hello, a poll or a post, to
// an agent that begins or is in the middle.
func TestRevokedEndsRun(t *testing.T) {
	for name, c := range map[string]struct {
		mode Mode
		from string // revoked from the first such request on
	}{
		"upgrade": {ModeAuto, wire.PathSocket},
		"hello":   {ModePoll, wire.PathMessages},
		"poll":    {ModePoll, wire.PathPoll},
		"post":    {ModePoll, wire.PathMessages + "?session"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(r *rig, cfg *Config) {
				cfg.Mode = c.mode
				for _, g := range r.gates {
					g.hook = func(w http.ResponseWriter, q *http.Request) bool {
						if !strings.HasPrefix(q.URL.RequestURI(), c.from) {
							return false
						}
						fail(w, 403, "revoked", "300")
						return true
					}
				}
			}, func(r *rig) {
				r.gates[0].submit(jobA)
				start := time.Now()
				var te *TerminalError
				if err := r.link.Run(context.Background(), r.agent); !errors.As(err, &te) || te.Code != wire.CloseRevoked || !strings.Contains(te.Reason, "test says") {
					t.Errorf("Run returned %v", err)
				}
				if d := time.Since(start); d > time.Minute {
					t.Errorf("after %v", d)
				}
				if c.mode != ModePoll {
					return
				}
				link, _ := NewLink(r.link.cfg)
				if err := link.RunOnce(context.Background(), r.agent, 0); !errors.As(err, &te) || te.Code != wire.CloseRevoked {
					t.Errorf("RunOnce returned %v", err)
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
