package session

import (
	"sync"
	"sync/atomic"

	"github.com/rexgate/rexgate/queue"
)

// Watch waits for a host's work on behalf of a held poll.
type Watch struct {
	// C has a value when there may be something to fetch, or the poll should end.
	C        chan struct{}
	hub      *Hub
	host     queue.HostID
	replaced atomic.Bool
}

// Watch begins to wait. A host has one watch at most: an older one ends with
// Replaced. Call Close.
func (h *Hub) Watch(id queue.HostID) *Watch {
	w := &Watch{C: make(chan struct{}, 1), hub: h, host: id}
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.hosts[id]
	if at == nil {
		at = &host{}
		h.hosts[id] = at
	}
	if old := at.watch; old != nil {
		old.replaced.Store(true)
		old.wake()
	} else {
		h.watches++
	}
	at.watch = w
	return w
}

// Replaced tells whether a newer poll of the same host waits instead.
func (w *Watch) Replaced() bool { return w.replaced.Load() }

// Close ends the watch. It may be called again.
func (w *Watch) Close() {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if at := h.hosts[w.host]; at != nil && at.watch == w {
		at.watch = nil
		h.watches--
		h.tidy(w.host, at)
	}
}

func (w *Watch) wake() {
	select {
	case w.C <- struct{}{}:
	default:
	}
}

// wakeWatches makes all held polls look up.
func (h *Hub) wakeWatches() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, at := range h.hosts {
		if at.watch != nil {
			at.watch.wake()
		}
	}
}

// maxGenerations bounds the sessions remembered, about 100 bytes each.
const maxGenerations = 1 << 16

// generations remembers which journal generation the polling sessions belong
// to, so that not every report has to ask the store. A session has one for ever, so
// that an entry can be old but not wrong.
type generations struct {
	mu     sync.Mutex // guards the following
	byHost map[queue.HostID]generation
}

type generation struct {
	session int64
	name    string
	at      int64 // hub time of the last that happened here, see beginAnew
}

func (g *generations) put(id queue.HostID, session int64, name string, now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byHost == nil {
		g.byHost = map[queue.HostID]generation{}
	}
	if _, ok := g.byHost[id]; !ok && len(g.byHost) >= maxGenerations {
		for any := range g.byHost {
			delete(g.byHost, any)
			break
		}
	}
	g.byHost[id] = generation{session, name, now}
}

func (g *generations) get(id queue.HostID, session int64) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.byHost[id]
	return e.name, e.session == session && e.name != ""
}

// happened notes that something was recorded for a session, or delivered to it.
func (g *generations) happened(id queue.HostID, session, now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.byHost[id]; ok && e.session == session {
		e.at = now
		g.byHost[id] = e
	}
}

// since gives the sessions with which something happened at or after a time.
func (g *generations) since(at int64) map[queue.HostID]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	recent := map[queue.HostID]int64{}
	for id, e := range g.byHost {
		if e.at >= at {
			recent[id] = e.session
		}
	}
	return recent
}
