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
	came := time.Now()
	slot := s.schedule.Next(peer.Host, came)
	w.Header().Set("Cache-Control", "no-store")
	p, err := parse(r)
	if err != nil {
		s.problem(w, peer, err, remaining(slot))
		return
	}
	// Both deadlines of the server are for shorter requests than this.
	hold := time.Duration(0)
	var wake <-chan struct{}
	var watch *session.Watch
	if p.wait > 0 && s.take() {
		defer s.held.Add(-1)
		hold = jitter(min(p.wait, s.cfg.MaxWait))
		watch = s.hub.Watch(peer.Host)
		defer watch.Close()
		wake = watch.C
		rc := http.NewResponseController(w)
		rc.SetReadDeadline(time.Time{}) // errors: there is none to move
		rc.SetWriteDeadline(came.Add(hold + wire.DeadAfter/2))
	}
	timer := time.NewTimer(hold)
	defer timer.Stop()
	for {
		if s.hub.Draining() {
			s.problem(w, peer, session.ErrDraining, s.hub.ComeBack())
			return
		}
		due := overdue(max(time.Until(slot), time.Until(came.Add(hold))+soon))
		f, err := s.hub.Fetch(r.Context(), peer, p.session, p.after, due)
		if r.Context().Err() != nil {
			s.count.cut.Add(1)
			return
		}
		if err != nil {
			s.problem(w, peer, err, remaining(slot))
			return
		}
		if len(f.Messages) > 0 {
			s.deliver(w, peer, f, slot)
			return
		}
		back := remaining(slot)
		if f.Busy {
			back = min(back, s.cfg.BusyWithin)
		}
		if hold == 0 {
			s.nothing(w, back)
			return
		}
		select {
		case <-wake:
			if watch.Replaced() {
				s.nothing(w, back)
				return
			}
		case <-timer.C:
			s.nothing(w, min(back, remaining(slot)))
			return
		case <-r.Context().Done():
			s.count.cut.Add(1)
			return
		}
	}
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
