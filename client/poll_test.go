package client

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// pollLog notes the polls that reach a gate.
type pollLog struct {
	mu   sync.Mutex
	at   []time.Time
	q    []url.Values
	post []time.Time
}

func (l *pollLog) polled(q *http.Request) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.URL.Path == wire.PathMessages {
		l.post = append(l.post, time.Now())
		return 0
	}
	l.at, l.q = append(l.at, time.Now()), append(l.q, q.URL.Query())
	return len(l.at)
}

// afters gives the after of each poll so far.
func (l *pollLog) afters() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.q {
		out = append(out, q.Get("after"))
	}
	return out
}

func polling(r *rig, cfg *Config) { cfg.Mode = ModePoll }

func TestPollObeysRetryAfter(t *testing.T) {
	waits := []string{"5", "0", "212", "31", "0", "7"}
	var log pollLog
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			n := log.polled(q)
			if n == 0 {
				return false
			}
			w.Header().Set("Retry-After", waits[(n-1)%len(waits)])
			w.WriteHeader(http.StatusNoContent)
			return true
		}
	}, func(r *rig) {
		r.start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		log.mu.Lock()
		defer log.mu.Unlock()
		if len(log.at) < 7 {
			t.Fatalf("%d polls", len(log.at))
		}
		for i, w := range waits {
			if d := log.at[i+1].Sub(log.at[i]); fmt.Sprint(d.Seconds()) != w {
				t.Errorf("poll %d came %v after the one before, which said %s s", i+1, d, w)
			}
		}
	})
}

func TestPollAtOnceForNothingIsSlowedDown(t *testing.T) {
	var log pollLog
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if log.polled(q) == 0 {
				return false
			}
			w.Header().Set("Retry-After", "0") // a cache, for instance, says so for ever
			w.WriteHeader(http.StatusNoContent)
			return true
		}
	}, func(r *rig) {
		r.start()
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if n := len(log.afters()); n < 90 || n > 110 {
			t.Errorf("%d polls in 100 s", n)
		}
	})
}

func TestPollRepeatsAfterUntilTheAnswerIsWhole(t *testing.T) {
	var log pollLog
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		g := r.gates[0]
		g.hook = func(w http.ResponseWriter, q *http.Request) bool {
			if n := log.polled(q); n != 1 && n != 2 {
				return false
			}
			g.mu.Lock()
			msgs := g.after(0)
			g.mu.Unlock()
			b, _ := wire.Encode(msgs...)
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			w.Write(b[:len(b)-10])
			panic(http.ErrAbortHandler)
		}
	}, func(r *rig) {
		g := r.gates[0]
		g.submit(jobA, jobB)
		r.start()
		g.waitFinished(jobA, jobB)
		a := log.afters()
		if len(a) < 3 || a[0] != "2" || a[1] != "2" || a[2] != "2" { // 2 = what the welcome said
			t.Errorf("after: %v", a)
		}
		r.agent.mu.Lock()
		defer r.agent.mu.Unlock()
		if n := r.agent.xs[jobA].jobs; n != 1 {
			t.Errorf("%d deliveries", n)
		}
		if n := len(g.hellos); n != 1 {
			t.Errorf("%d hellos", n)
		}
	})
}

func TestPollSaysHelloAgainOn409(t *testing.T) {
	bubble(t, 1, polling, func(r *rig) {
		g := r.gates[0]
		r.start()
		r.up(Poll)
		g.submit(jobA)
		g.waitFinished(jobA)
		start := time.Now()
		g.mu.Lock()
		g.session += 5 // another gateway has moved it on
		g.change()
		g.mu.Unlock()
		g.submit(jobB)
		g.waitFinished(jobB)
		if d := time.Since(start); d > 25*time.Second {
			t.Errorf("took %v", d)
		}
		r.startedOnce(jobA, jobB)
	})
}

func TestPollSessionTakenAgainAndAgain(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path == wire.PathPoll {
				fail(w, 409, "superseded", "1")
				return true
			}
			return false
		}
	}, func(r *rig) {
		r.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(r.gates[0].asked()); n > 500 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestPollGoesToTheNextGatewayAndComesBack(t *testing.T) {
	var at []time.Time
	bubble(t, 2, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			at = append(at, time.Now())
			fail(w, 503, "unavailable", "60")
			return true
		}
		r.gates[1].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if len(at) < 2 {
				fail(w, 503, "unavailable", "90")
				return true
			}
			return false
		}
	}, func(r *rig) {
		r.start()
		if st := r.up(Poll); st.Gateway != "http://g1" {
			t.Errorf("status %+v", st)
		}
		if len(at) != 2 || at[1].Sub(at[0]) != time.Minute {
			t.Errorf("asked the first at %v", at)
		}
	})
}

func TestOutageIsSatOutInTheSession(t *testing.T) {
	var away atomic.Bool
	var tries int
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if away.Load() {
				tries++
				fail(w, 503, "unavailable", "15")
				return true
			}
			return false
		}
	}, func(r *rig) {
		g := r.gates[0]
		r.start()
		r.up(Poll)
		g.submit(jobA)
		g.waitFinished(jobA)
		away.Store(true)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if st := r.link.Status(); !st.Up || !strings.Contains(st.LastError, "unavailable") {
			t.Errorf("status %+v", st)
		}
		if tries < 75 || tries > 85 {
			t.Errorf("%d tries", tries)
		}
		away.Store(false)
		g.submit(jobB)
		g.waitFinished(jobB)
		if len(g.hellos) != 1 {
			t.Errorf("%d hellos", len(g.hellos))
		}
	})
}

func TestPollShortensItsWaitWhereSomethingCutsIt(t *testing.T) {
	var log pollLog
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if log.polled(q) == 0 {
				return false
			}
			wait, _ := time.ParseDuration(q.URL.Query().Get("wait"))
			select {
			case <-time.After(min(wait, 30*time.Second)):
			case <-q.Context().Done():
				return true
			}
			if wait > 30*time.Second { // a proxy's patience
				w.WriteHeader(http.StatusGatewayTimeout)
				return true
			}
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusNoContent)
			return true
		}
	}, func(r *rig) {
		r.start()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		r.gates[0].mu.Lock()
		defer r.gates[0].mu.Unlock()
		if n := len(r.gates[0].hellos); n != 1 {
			t.Errorf("%d hellos", n)
		}
		log.mu.Lock()
		defer log.mu.Unlock()
		if w, _ := time.ParseDuration(log.q[len(log.q)-1].Get("wait")); w > 30*time.Second || w < minWait {
			t.Errorf("waits %v", w)
		}
	})
}

func TestPortalIsNoGateway(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) {
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>please log in")
			return true
		}
	}, func(r *rig) {
		r.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := r.link.Status(); st.Up || !strings.Contains(st.LastError, "isn't a gateway's") && !strings.Contains(st.LastError, "not by a gateway") {
			t.Errorf("status %+v", st)
		}
		if n := len(r.gates[0].asked()); n > 120 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}
