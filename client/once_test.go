package client

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

func TestRunOnce(t *testing.T) {
	for _, mode := range []Mode{ModeAuto, ModePoll, ModeSocket} {
		bubble(t, 1, func(r *rig, cfg *Config) { cfg.Mode = mode }, func(r *rig) {
			g := r.gates[0]
			g.retry = "20"
			g.submit(names(5)...)
			if err := r.link.RunOnce(context.Background(), r.agent, 0); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			g.waitFinished(names(5)...)
			for _, q := range g.asked() {
				if strings.Contains(q, wire.PathPoll) && !strings.Contains(q, "wait=0s") {
					t.Errorf("held: %s", q)
				}
				if strings.Contains(q, wire.PathSocket) != (mode == ModeSocket) && strings.Contains(q, wire.PathSocket) {
					t.Errorf("%s: %s", mode, q)
				}
			}
			// And with nothing to do, at once.
			start := time.Now()
			link, _ := NewLink(r.link.cfg)
			if err := link.RunOnce(context.Background(), r.agent, 0); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("%s: nothing took %v", mode, d)
			}
		})
	}
}

func TestRunOnceWithoutAGateway(t *testing.T) {
	bubble(t, 1, func(r *rig, cfg *Config) { cfg.Gateways = []string{"http://nobody", "http://noone"} }, func(r *rig) {
		err := r.link.RunOnce(context.Background(), r.agent, 0)
		if err == nil || !strings.Contains(err.Error(), "no gateway could be reached") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("RunOnce returned %v", err)
		}
	})
}

func TestRunOnceEndsWithItsContext(t *testing.T) {
	bubble(t, 1, nil, func(r *rig) {
		g := r.gates[0]
		g.hook = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path == wire.PathMessages && q.URL.RawQuery != "" {
				fail(w, 503, "unavailable", "5")
				return true
			}
			return false
		}
		g.submit(jobA)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := r.link.RunOnce(ctx, r.agent, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("RunOnce returned %v", err)
		}
	})
}
