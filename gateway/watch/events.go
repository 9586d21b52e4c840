package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/session/wire"
)

// EventStream is the media type of server-sent events.
const EventStream = "text/event-stream"

// Events is a carrier of server-sent events.
type Events struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	reader context.Context // ends when it has gone
}

// AcceptEvents begins an answer of server-sent events. The error says that the reader has gone.
func AcceptEvents(w http.ResponseWriter, r *http.Request) (*Events, error) {
	e := &Events{w: w, rc: http.NewResponseController(w), reader: r.Context()}
	h := w.Header()
	h.Set("Content-Type", EventStream)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx would hold back what comes in small pieces
	w.WriteHeader(http.StatusOK)
	return e, e.write(nil)
}

// Send implements Carrier.
func (e *Events) Send(message []byte, cursor string) error {
	text := make([]byte, 0, len(message)+len(cursor)+16)
	if cursor != "" {
		text = fmt.Appendf(text, "id: %s\n", cursor)
	}
	// JSON on one line has no line feed.
	text = append(append(append(text, "data: "...), message...), "\n\n"...)
	return e.write(text)
}

// write writes in pieces, each with its own time.
func (e *Events) write(b []byte) error {
	for {
		if err := e.rc.SetWriteDeadline(time.Now().Add(SlowAfter)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		n, err := e.w.Write(b[:min(len(b), piece)])
		if err != nil {
			return err
		}
		if b = b[n:]; len(b) == 0 {
			break
		}
	}
	if err := e.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// End implements Carrier: the last event is of type "end".
func (e *Events) End(code wire.CloseCode, retry time.Duration, reason string) {
	end := api.WatchEnd{Code: int(code), Retry: int(math.Ceil(retry.Seconds())), Reason: reason}
	data, err := json.Marshal(end)
	if err != nil {
		return // numbers and strings always marshal
	}
	text := ""
	if retry > 0 {
		text = "retry: " + strconv.Itoa(1000*end.Retry) + "\n"
	}
	_ = e.write([]byte(text + "event: end\ndata: " + string(data) + "\n\n")) // who has gone needs no answer
}

// Context implements Carrier.
func (e *Events) Context() context.Context { return e.reader }

// Name implements Carrier.
func (e *Events) Name() string { return "sse" }
