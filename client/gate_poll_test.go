package client

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

func (g *gate) poll(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	session, _ := strconv.ParseInt(q.Get("session"), 10, 64)
	after, _ := strconv.ParseInt(q.Get("after"), 10, 64)
	wait, err := time.ParseDuration(q.Get("wait"))
	if err != nil || wait > 50*time.Second {
		g.t.Errorf("wait=%q", q.Get("wait"))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		g.mu.Lock()
		current, changed := session > 0 && session == g.session && g.owner == nil, g.changed
		msgs := g.after(after)
		g.mu.Unlock()
		if !current {
			fail(w, 409, "superseded", "1")
			return
		}
		if len(msgs) > 0 {
			g.reply(w, g.retryMore, msgs)
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-timer.C:
			w.Header().Set("Retry-After", g.retry)
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
}

func (g *gate) reply(w http.ResponseWriter, retry string, msgs []wire.Message) {
	b, err := wire.Encode(msgs...)
	if err != nil {
		g.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json")
	if retry != "" {
		w.Header().Set("Retry-After", retry)
	}
	w.Write(b)
}

func (g *gate) messages(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	msgs, err := wire.Decode(body)
	if err != nil || len(msgs) == 0 {
		fail(w, 400, "invalid", "")
		return
	}
	if h, ok := msgs[0].(*wire.Hello); ok {
		out, old := g.claim(*h, nil)
		if old != nil {
			go old.close(wire.CloseSuperseded, "newer")
		}
		g.reply(w, "0", out)
		return
	}
	g.mu.Lock()
	current := r.URL.Query().Get("session") == strconv.FormatInt(g.session, 10) && g.owner == nil
	g.mu.Unlock()
	if !current {
		fail(w, 409, "superseded", "1")
		return
	}
	g.reply(w, "", g.record(msgs))
}
