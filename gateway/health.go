package gateway

import (
	"context"
	_ "embed" // the API's description
	"net/http"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// openAPIFile describes the operators' API and the agents' routes.
//
//go:embed openapi.yaml
var openAPIFile []byte

func (g *Gateway) openAPI(w http.ResponseWriter, _ *http.Request, _ caller) error {
	h := w.Header()
	h.Set("Content-Type", "application/yaml")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(openAPIFile) // who has gone needs no answer
	return nil
}

// healthz says that the process lives, whatever the store does: restarting it wouldn't
// help the store.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request, _ caller) error {
	return plain(w, "ok")
}

// readyz says whether requests may be sent here.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request, _ caller) error {
	if g.draining.Load() {
		return refused(codeDraining, "this gateway is going")
	}
	if err := g.ready.check(g.store); err != nil {
		return &queue.Error{Code: queue.Unavailable, Message: "the store doesn't answer", Err: err}
	}
	return plain(w, "ok")
}

func plain(w http.ResponseWriter, text string) error {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(text + "\n")) // who has gone needs no answer
	return nil
}

// readiness asks the store at most once a second, since anybody may ask.
type readiness struct {
	mu    sync.Mutex // guards what follows
	asked time.Time
	busy  bool
	err   error
}

// check asks the store, or gives the last answer if that is fresh or somebody asks already.
func (c *readiness) check(store queue.Keeper) error {
	c.mu.Lock()
	if c.busy || time.Since(c.asked) < time.Second {
		defer c.mu.Unlock()
		return c.err
	}
	c.busy = true
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := store.Now(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.asked, c.err = false, time.Now(), err
	return err
}
