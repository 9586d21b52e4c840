package poll

import (
	"net/http"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// request is a poll's query.
type request struct {
	session, after int64
	wait           time.Duration
}

func parse(r *http.Request) (request, error) {
	q := r.URL.Query()
	var p request
	var err error
	if p.session, err = strconv.ParseInt(q.Get("session"), 10, 64); err != nil || p.session < 0 {
		return p, queue.Errorf(queue.Invalid, "session: %.40q is not the session of a welcome", q.Get("session"))
	}
	if v := q.Get("after"); v != "" {
		if p.after, err = strconv.ParseInt(v, 10, 64); err != nil || p.after < 0 || p.after > wire.MaxNumber {
			return p, queue.Errorf(queue.Invalid, "after: %.40q is not the number of a message", v)
		}
	}
	if v := q.Get("wait"); v != "" {
		if p.wait, err = time.ParseDuration(v); err != nil || p.wait < 0 {
			return p, queue.Errorf(queue.Invalid, "wait: %.40q is not a duration like 50s", v)
		}
	}
	return p, nil
}

// ServePoll answers GET wire.PathPoll: 200 with messages, or 204. It holds the
// request while there is nothing, up to the time that it asks for, if there is room.
func (s *Server) ServePoll(w http.ResponseWriter, r *http.Request, peer session.Peer) {
	s.count.polls.Add(1)
	h := &hold{Server: s, w: w, r: r, peer: peer, came: time.Now()}
	if h.begin() {
		defer h.end()
		for h.look() && h.wait() {
		}
	}
}

// hold is a poll that is being served. What it knows is here rather than in variables, since
// a goroutine's stack keeps a quarter of its size at most when it shrinks: with the frames of the
// HTTP server below it, a held poll that had 400 bytes more on its stack kept 16 KiB
// instead of 8.
type hold struct {
	*Server
	w       http.ResponseWriter
	r       *http.Request
	peer    session.Peer
	request request
	came    time.Time
	slot    time.Time
	back    time.Duration // when to come back, if nothing comes
	length  time.Duration // that it is held; 0 = it isn't
	watch   *session.Watch
	timer   *time.Timer
}

// begin finds out what is asked for, and takes a place if there is one; false = it has
// answered.
func (h *hold) begin() bool {
	h.slot = h.schedule.Next(h.peer.Host, h.came)
	h.w.Header().Set("Cache-Control", "no-store")
	var err error
	if h.request, err = parse(h.r); err != nil {
		h.problem(h.w, h.peer, err, remaining(h.slot))
		return false
	}
	if h.request.wait > 0 && h.take() {
		h.length = jitter(min(h.request.wait, h.cfg.MaxWait))
		h.watch = h.hub.Watch(h.peer.Host)
		h.timer = time.NewTimer(h.length)
		// Both deadlines of the server are for shorter requests than this.
		rc := http.NewResponseController(h.w)
		rc.SetReadDeadline(time.Time{}) // errors: there is none to move
		rc.SetWriteDeadline(h.came.Add(h.length + wire.DeadAfter/2))
	}
	return true
}

// end gives the place back.
func (h *hold) end() {
	if h.watch != nil {
		h.timer.Stop()
		h.watch.Close()
		h.held.Add(-1)
	}
}

// look asks the store; false = it has answered.
func (h *hold) look() bool {
	if h.hub.Draining() {
		h.problem(h.w, h.peer, session.ErrDraining, h.hub.ComeBack())
		return false
	}
	due := overdue(max(time.Until(h.slot), time.Until(h.came.Add(h.length))+soon))
	f, err := h.hub.Fetch(h.r.Context(), h.peer, h.request.session, h.request.after, due)
	if h.r.Context().Err() != nil {
		h.count.cut.Add(1)
		return false
	}
	if err != nil {
		h.problem(h.w, h.peer, err, remaining(h.slot))
		return false
	}
	if len(f.Messages) > 0 {
		h.deliver(h.w, h.peer, f, h.slot)
		return false
	}
	h.back = remaining(h.slot)
	if f.Busy {
		h.back = min(h.back, h.cfg.BusyWithin)
	}
	if h.watch == nil {
		h.nothing(h.w, h.back)
		return false
	}
	return true
}

// wait waits until there may be something to fetch; false = it has answered.
func (h *hold) wait() bool {
	select {
	case <-h.watch.C:
		if !h.watch.Replaced() {
			return true
		}
		h.nothing(h.w, h.back)
	case <-h.timer.C:
		h.nothing(h.w, min(h.back, remaining(h.slot)))
	case <-h.r.Context().Done():
		h.count.cut.Add(1)
	}
	return false
}

// nothing answers an empty poll.
func (s *Server) nothing(w http.ResponseWriter, back time.Duration) {
	s.count.empty.Add(1)
	retryAfter(w, back)
	w.WriteHeader(http.StatusNoContent)
}

// deliver answers with the messages that fit. The others are leased already, and come
// with the next poll, at once.
func (s *Server) deliver(w http.ResponseWriter, peer session.Peer, f session.Fetched, slot time.Time) {
	frames, err := wire.Pack(wire.MaxFrame, f.Messages...)
	if err != nil {
		s.cfg.Log.Error("message can't be sent", "host", peer.Host, "err", err)
		s.problem(w, peer, err, remaining(slot))
		return
	}
	s.count.messages.Add(1)
	if f.More || len(frames) > 1 {
		retryAfter(w, 0)
	} else {
		retryAfter(w, s.backSoon(slot))
	}
	s.write(w, frames[0])
}

// ServeScript answers GET wire.PathScript + execution id with the script of an
// execution that is in the host's hands: 404 of any other.
func (s *Server) ServeScript(w http.ResponseWriter, r *http.Request, peer session.Peer) {
	w.Header().Set("Cache-Control", "no-store")
	id := queue.ExecutionID(r.URL.Path[min(len(wire.PathScript), len(r.URL.Path)):])
	script, err := s.hub.Script(r.Context(), peer, id)
	if err != nil {
		if r.Context().Err() == nil {
			s.problem(w, peer, err, remaining(s.schedule.Next(peer.Host, time.Now())))
		}
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(script)))
	w.WriteHeader(http.StatusOK)
	w.Write(script) // checked by the host against the digest
}
