package client

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// refuseSockets makes a gate refuse upgrades as a proxy does, while on is set.
func refuseSockets(g *gate, on *atomic.Bool) {
	g.hook = func(w http.ResponseWriter, q *http.Request) bool {
		if on.Load() && q.URL.Path == wire.PathSocket {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
}

// busy submits a job every second, until it is told to stop; it returns the jobs.
func busy(g *gate, stop chan struct{}) <-chan []string {
	done := make(chan []string, 1)
	go func() {
		var sent []string
		for _, x := range names(100) {
			select {
			case <-stop:
				done <- sent
				return
			case <-time.After(7 * time.Second):
			}
			g.submit(x)
			sent = append(sent, x)
		}
		<-stop
		done <- sent
	}()
	return done
}

func TestStandbyTakesOver(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	bubble(t, 1, func(r *rig, cfg *Config) { refuseSockets(r.gates[0], &broken) }, func(r *rig) {
		g := r.gates[0]
		g.onTake = func(*gateConn) bool {
			g.note("take")
			return false
		}
		stop := make(chan struct{})
		jobs := busy(g, stop)
		r.start()
		r.up(Poll)
		time.Sleep(3 * time.Minute)
		if st := r.link.Status(); st.Transport != Poll || st.Standby != "" {
			t.Errorf("while sockets are refused: %+v", st)
		}
		broken.Store(false)
		fixed := time.Now()
		for r.link.Status().Standby == "" {
			time.Sleep(time.Second)
		}
		stood := time.Now()
		g.mu.Lock()
		if g.owner != nil {
			t.Error("a standby has the session")
		}
		g.mu.Unlock()
		r.up(Socket)
		if d := time.Since(stood); d < 2*time.Minute || d > 2*time.Minute+5*time.Second {
			t.Errorf("took over after %v in standby", d)
		}
		t.Logf("probed %v after it was possible", stood.Sub(fixed))
		g.mu.Lock()
		if h := g.hellos[len(g.hellos)-1]; h.Standby {
			t.Error("the take says standby")
		}
		g.mu.Unlock()
		time.Sleep(time.Minute)
		close(stop)
		sent := <-jobs
		g.waitFinished(sent...)
		r.startedOnce(sent...)

		g.mu.Lock()
		took := false
		for _, q := range g.requests {
			if strings.Contains(q, wire.PathSocket) {
				took = false
			}
			if took && strings.Contains(q, "poll?") {
				t.Error("polled after the take")
			}
			took = took || q == "take"
		}
		if g.takes != 1 {
			t.Errorf("%d takes", g.takes)
		}
		g.mu.Unlock()
		if st := r.link.Status(); st.Standby != "" || st.Transport != Socket {
			t.Errorf("status %+v", st)
		}
	})
}

func TestTakeThatFailsLeavesThePoll(t *testing.T) {
	for name, onTake := range map[string]func(c *gateConn) bool{
		"closed": func(c *gateConn) bool {
			c.conn.CloseNow()
			return true
		},
		"no answer": func(c *gateConn) bool { return true },
		// The worst: the gateway has moved the session, and the answer is lost.
		"welcome lost": func(c *gateConn) bool {
			c.g.claim(wire.Hello{}, c)
			c.conn.CloseNow()
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			broken.Store(true)
			bubble(t, 1, func(r *rig, cfg *Config) { refuseSockets(r.gates[0], &broken) }, func(r *rig) {
				g := r.gates[0]
				var failing atomic.Bool
				failing.Store(true)
				g.onTake = func(c *gateConn) bool {
					if failing.Load() {
						return onTake(c)
					}
					return false
				}
				stop := make(chan struct{})
				jobs := busy(g, stop)
				r.start()
				r.up(Poll)
				broken.Store(false)
				g.wait("two takes", func() bool { return g.takes == 2 })
				time.Sleep(time.Minute)
				if st := r.link.Status(); st.Transport != Poll || !st.Up {
					t.Errorf("status %+v", st)
				}
				close(stop)
				sent := <-jobs
				g.waitFinished(sent...)
				failing.Store(false)
				r.up(Socket)
				g.submit(jobA)
				g.waitFinished(jobA)
				r.startedOnce(append(sent, jobA)...)
			})
		})
	}
}

// A job that the poll fetched while a take was under way isn't delivered when the take
// turns out to have moved the session: it comes again under another lease.
func TestAnswerFromBeforeATakeIsVoid(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	bubble(t, 1, func(r *rig, cfg *Config) { refuseSockets(r.gates[0], &broken) }, func(r *rig) {
		g := r.gates[0]
		var once atomic.Bool
		g.onTake = func(c *gateConn) bool {
			if once.Swap(true) {
				return false
			}
			g.submit(jobA) // answers the held poll
			time.Sleep(time.Second)
			g.claim(wire.Hello{}, c)
			c.conn.CloseNow() // and the welcome is lost
			return true
		}
		r.start()
		r.up(Poll)
		broken.Store(false)
		g.wait("a take", func() bool { return g.takes == 1 })
		g.waitFinished(jobA)
		r.startedOnce(jobA)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.stale != 0 {
			t.Errorf("%d times a void job was accepted", g.stale)
		}
	})
}

func TestSwitchInTheMiddleOfAJob(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) { r.agent.chunks, r.agent.size = 400, 900 }, func(r *rig) {
		g := r.gates[0]
		var refuse atomic.Bool
		refuseSockets(g, &refuse)
		r.start()
		c := g.active()
		g.submit(jobA)
		g.wait("some output", func() bool { return g.acked[jobA] > 50 })
		refuse.Store(true)
		g.mu.Lock()
		g.owner = nil
		g.mu.Unlock()
		c.conn.CloseNow()
		g.waitFinished(jobA)
		r.startedOnce(jobA)
		if st := r.up(Poll); st.Session != 2 {
			t.Errorf("status %+v", st)
		}
	})
}

func TestPollAloneNeverProbes(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) { cfg.Mode = ModePoll }, func(r *rig) {
		r.start()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		for _, q := range r.gates[0].asked() {
			if strings.Contains(q, wire.PathSocket) {
				t.Fatal(q)
			}
		}
	})
}

func TestProbesBackOff(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	bubble(t, 1, func(r *rig, cfg *Config) { refuseSockets(r.gates[0], &broken) }, func(r *rig) {
		r.start()
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		n := 0
		for _, q := range r.gates[0].asked() {
			if strings.Contains(q, wire.PathSocket) {
				n++
			}
		}
		// 30 s doubling to 30 min: some 7 in the first hour, then 2 to 4 an hour.
		if n < 12 || n > 32 {
			t.Errorf("%d probes in 6 hours", n)
		}
	})
}

func TestGatewayDownAtTheUpgradeIsNotTheSocketsFault(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	bubble(t, 1, func(r *rig, cfg *Config) {
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if down.Load() { // a load balancer without a gateway
				w.WriteHeader(http.StatusBadGateway)
			}
			return down.Load()
		}
	}, func(r *rig) {
		r.start()
		time.Sleep(10 * time.Minute)
		down.Store(false)
		start := time.Now()
		r.up(Socket)
		if d := time.Since(start); d > 10*time.Minute {
			t.Errorf("back on the socket after %v", d)
		}
		if n := len(r.gates[0].asked()); n > 60 {
			t.Errorf("%d requests while it was down", n)
		}
	})
}
