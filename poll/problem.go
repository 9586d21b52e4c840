package poll

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
)

// codes of the problems that this package answers with, all of which are counted.
var codes = [...]string{"invalid", "too_large", "forbidden", "not_found", "superseded", "duplicate", "busy", "draining", "unavailable"}

var (
	errPosting  = errors.New("a POST of this host is being served; one at a time")
	errTooLarge = errors.New("the body is larger than a gateway takes; see max_frame of the welcome")
)

// helloError marks an error of a hello, where a host that isn't known may not
// come back.
type helloError struct{ error }

func (e helloError) Unwrap() error { return e.error }

// duplicateFor is when a host with a double may try again.
const duplicateFor = time.Minute

// classify gives status, code, and title of an error.
func classify(err error) (int, string, string) {
	switch {
	case errors.Is(err, errPosting):
		return http.StatusTooManyRequests, "busy", "One request at a time"
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge, "too_large", "Too large"
	case errors.Is(err, session.ErrDraining):
		return http.StatusServiceUnavailable, "draining", "The gateway is going"
	}
	switch queue.CodeOf(err) {
	case queue.Invalid:
		return http.StatusBadRequest, "invalid", "Malformed request"
	case queue.Forbidden:
		return http.StatusForbidden, "forbidden", "Not allowed"
	case queue.NotFound:
		if errors.As(err, new(helloError)) {
			return http.StatusForbidden, "forbidden", "Not enrolled"
		}
		return http.StatusNotFound, "not_found", "Not found"
	case queue.Superseded:
		return http.StatusConflict, "superseded", "Say hello"
	case queue.Duplicate:
		return http.StatusConflict, "duplicate", "Two machines with one identity"
	}
	return http.StatusServiceUnavailable, "unavailable", "The store does not answer"
}

// problem answers with an RFC 9457 document; the fields are those of the
// gateway's other problems.
func (s *Server) problem(w http.ResponseWriter, peer session.Peer, err error, back time.Duration) {
	status, code, title := classify(err)
	for i, c := range codes {
		if c == code {
			s.count.problems[i].Add(1)
		}
	}
	detail := err.Error()
	var qe *queue.Error
	switch {
	case code == "unavailable":
		level := slog.LevelError
		if errors.As(err, &qe) && (qe.Code == queue.Unavailable || qe.Code == queue.Full) {
			back = max(back, qe.Retry)
			level = slog.LevelDebug // of every host; the hub says it once
		}
		s.cfg.Log.Log(context.Background(), level, "host's request not served", "host", peer.Host, "err", err)
		detail = "the store can't be reached now; repeat this after the time that Retry-After gives"
	case code == "duplicate":
		back = max(back, duplicateFor)
	}
	body, _ := json.Marshal(struct { // of strings and a number: it can't fail
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}{"urn:rexgate:problem:" + code, title, status, detail, code})
	retryAfter(w, back)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	w.Write(body)
}
