package poll

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// ServeMessages answers POST wire.PathMessages: a hello with its welcome, events
// with their acks, in one array if both come. Retry-After in a 200 says when to poll, and is
// set after a hello and after the end of an execution.
func (s *Server) ServeMessages(w http.ResponseWriter, r *http.Request, peer session.Peer) {
	s.count.posts.Add(1)
	w.Header().Set("Cache-Control", "no-store")
	msgs, err := read(w, r)
	if err != nil {
		s.problem(w, peer, err, s.later(peer))
		return
	}
	out, back, err := s.serveAlone(r, peer, msgs)
	switch {
	case r.Context().Err() != nil:
		s.count.cut.Add(1)
	case errors.Is(err, errPosting):
		s.problem(w, peer, err, soon)
	case errors.Is(err, session.ErrDraining):
		s.problem(w, peer, err, s.hub.ComeBack())
	case err != nil:
		s.problem(w, peer, err, s.later(peer))
	case len(out) == 0:
		w.WriteHeader(http.StatusNoContent)
	default:
		frames, err := wire.Pack(wire.MaxFrame, out...)
		if err != nil {
			s.problem(w, peer, err, s.later(peer))
			return
		}
		if back {
			retryAfter(w, s.backSoon(s.schedule.Next(peer.Host, time.Now())))
		}
		// Acks that don't fit are repeated when the events are.
		s.write(w, frames[0])
	}
}

// later is when to come back after a failure.
func (s *Server) later(peer session.Peer) time.Duration {
	return remaining(s.schedule.Next(peer.Host, time.Now()))
}

func read(w http.ResponseWriter, r *http.Request) ([]wire.Message, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxFrame))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return nil, errTooLarge
		}
		return nil, queue.Errorf(queue.Invalid, "the body can't be read: %w", err)
	}
	msgs, err := wire.Decode(body)
	if err != nil {
		return nil, queue.Errorf(queue.Invalid, "%w", err)
	}
	return msgs, nil
}

// serveAlone is serve unless another POST of the host is being served. It is over before
// the answer is written: a host that has read it may post the next at once.
func (s *Server) serveAlone(r *http.Request, peer session.Peer, msgs []wire.Message) (out []wire.Message, back bool, err error) {
	if !s.enter(peer.Host) {
		return nil, false, errPosting
	}
	defer s.leave(peer.Host)
	return s.serve(r, peer, msgs)
}

// serve does what the messages say, in order. back: the host should poll soon.
func (s *Server) serve(r *http.Request, peer session.Peer, msgs []wire.Message) (out []wire.Message, back bool, err error) {
	sid, _ := strconv.ParseInt(r.URL.Query().Get("session"), 10, 64)
	for len(msgs) > 0 {
		switch m := msgs[0].(type) {
		case *wire.Hello:
			if m.Standby {
				return nil, false, queue.Errorf(queue.Invalid, "hello: there is no standby over requests")
			}
			if s.hub.Draining() { // events are still taken
				return nil, false, session.ErrDraining
			}
			welcome, err := s.hub.Hello(r.Context(), peer, m, overdue(s.cfg.MinInterval))
			if err != nil {
				return nil, false, helloError{err}
			}
			sid, back, msgs = welcome[0].(*wire.Welcome).Session, true, msgs[1:]
			out = append(out, welcome...)
		case wire.Event:
			if sid <= 0 {
				return nil, false, queue.Errorf(queue.Invalid, "session: %.40q is not the session of a welcome", r.URL.Query().Get("session"))
			}
			var events []wire.Event
			for len(msgs) > 0 {
				e, ok := msgs[0].(wire.Event)
				if !ok {
					break
				}
				events, msgs = append(events, e), msgs[1:]
				back = back || e.Type() == wire.TypeFinished || e.Type() == wire.TypeRejected
			}
			acks, err := s.hub.Record(r.Context(), peer, sid, events)
			if err != nil {
				return nil, false, err
			}
			out = append(out, acks...)
		default:
			return nil, false, queue.Errorf(queue.Invalid, "%s has no place here", m.Type())
		}
	}
	return out, back, nil
}

// enter begins a host's POST, unless one is being served.
func (s *Server) enter(host queue.HostID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.posting[host]; ok {
		return false
	}
	s.posting[host] = struct{}{}
	return true
}

func (s *Server) leave(host queue.HostID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.posting, host)
}
