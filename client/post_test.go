package client

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

func TestPostIsRepeatedUntilAnswered(t *testing.T) {
	var n int
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		g := r.gates[0]
		g.hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path != wire.PathMessages || q.URL.RawQuery == "" {
				return false
			}
			if n++; n%2 == 0 {
				return false
			}
			rec := &discard{}
			g.messages(rec, q) // stored, but the answer is lost
			panic(http.ErrAbortHandler)
		}
	}, func(r *rig) {
		g := r.gates[0]
		g.submit(jobA, jobB)
		r.start()
		g.waitFinished(jobA, jobB)
		r.startedOnce(jobA, jobB)
		if len(g.hellos) != 1 {
			t.Errorf("%d hellos", len(g.hellos))
		}
	})
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header {
	if d.h == nil {
		d.h = http.Header{}
	}
	return d.h
}

func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

func (d *discard) WriteHeader(int) {}

func TestAnswerToAPostBringsThePollForward(t *testing.T) {
	var log pollLog
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		g := r.gates[0]
		g.retryMore = "300"
		g.hook = func(w http.ResponseWriter, q *http.Request) bool {
			log.polled(q)
			if q.URL.Path == wire.PathMessages && q.URL.RawQuery != "" {
				w.Header().Set("Retry-After", "0") // a slot is free, and more waits
			}
			return false
		}
	}, func(r *rig) {
		g := r.gates[0]
		g.submit(jobA)
		r.start()
		g.waitFinished(jobA)
		start := time.Now()
		g.submit(jobB)
		g.waitFinished(jobB)
		if d := time.Since(start); d > time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestPostThatIsStillBeingServedIsWaitedFor(t *testing.T) {
	n := 0
	bubble(t, 2, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path == wire.PathMessages && q.URL.RawQuery != "" && n < 5 {
				n++
				fail(w, 429, "busy", "1")
				return true
			}
			return false
		}
	}, func(r *rig) {
		r.gates[0].submit(jobA)
		r.start()
		r.gates[0].waitFinished(jobA)
	})
}

func TestBodiesShrinkWhereAProxyWantsThemSmall(t *testing.T) {
	refused := 0
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.agent.chunks, r.agent.size = 100, wire.MaxChunk
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.ContentLength > 40<<10 {
				refused++
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return true
			}
			return false
		}
	}, func(r *rig) {
		r.gates[0].submit(jobA)
		r.start()
		r.gates[0].waitFinished(jobA)
		if refused == 0 || refused > 3 {
			t.Errorf("%d bodies were too large", refused)
		}
	})
}

func TestMalformedPostEndsRun(t *testing.T) {
	for status, code := range map[int]wire.CloseCode{400: wire.CloseMalformed, 403: wire.CloseForbidden} {
		bubble(t, 1, func(r *rig, cfg *Config) {
			polling(r, cfg)
			r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == wire.PathMessages && q.URL.RawQuery != "" {
					fail(w, status, map[int]string{400: "invalid", 403: "forbidden"}[status], "")
					return true
				}
				return false
			}
		}, func(r *rig) {
			r.gates[0].submit(jobA)
			r.start()
			var te *TerminalError
			if err := <-r.ended; !errors.As(err, &te) || te.Code != code {
				t.Errorf("Run returned %v", err)
			}
			r.stop()
			r.stop = nil
		})
	}
}

func TestEventsThatAreNeverAcknowledgedAreGivenAgain(t *testing.T) {
	lost := 0
	bubble(t, 1, func(r *rig, cfg *Config) {
		polling(r, cfg)
		r.gates[0].hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path == wire.PathMessages && q.URL.RawQuery != "" && lost == 0 {
				lost++
				w.Write([]byte("[]")) // 200, and nothing was stored
				return true
			}
			return false
		}
	}, func(r *rig) {
		r.gates[0].submit(jobA)
		r.start()
		r.gates[0].waitFinished(jobA)
		r.startedOnce(jobA)
	})
}
