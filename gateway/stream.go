package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/live"
	"github.com/rexgate/rexgate/gateway/watch"
	"github.com/rexgate/rexgate/session/wire"
)

// stream is one watch: it asks its views in turn for what is new, whenever the reader
// has taken what was before. It is for one goroutine.
type stream struct {
	carrier  watch.Carrier
	expires  time.Time
	leave    context.Context // ends when the gateway goes
	comeBack func() time.Duration
	count    func(kind string, bytes int) // of messages

	views []topicView
	again *time.Timer // when a view whose store failed is asked again
	beat  *time.Timer
}

type topicView struct {
	topic live.Topic
	live.View
	ended bool
}

// firstBeat is the first sign of life, if nothing else is there to be sent.
const firstBeat = time.Second

// againAfter is when a view is asked again after the store failed it.
const againAfter = time.Second

// open begins to watch the topics, from where the cursor stands.
func (s *stream) open(views *live.Views, topics []live.Topic, c live.Cursor) error {
	for _, t := range topics {
		p, resume := c.At(t)
		v, err := views.Open(t, p, resume)
		if err != nil {
			return err
		}
		s.views = append(s.views, topicView{topic: t, View: v})
	}
	return nil
}

func (s *stream) close() {
	for i := range s.views {
		s.end(&s.views[i])
	}
}

// run sends what there is and what comes, until something ends it.
func (s *stream) run() ending {
	s.beat, s.again = time.NewTimer(firstBeat), time.NewTimer(0)
	defer s.beat.Stop()
	defer s.again.Stop()
	<-s.again.C
	ctx, cancel := context.WithDeadline(s.carrier.Context(), s.expires)
	defer cancel()
	stop := context.AfterFunc(s.leave, cancel)
	defer stop()
	for {
		sent, err := s.round(ctx)
		if ctx.Err() != nil || err != nil {
			return s.why(err)
		}
		if sent {
			continue // nothing waits while there may be more to send
		}
		select {
		case <-s.news(0):
		case <-s.news(1):
		case <-s.news(2):
		case <-s.news(3):
		case <-s.again.C:
		case <-s.beat.C:
			if err := s.send(&api.WatchMessage{}, "beat"); err != nil {
				return s.why(err)
			}
		case <-ctx.Done():
			return s.why(nil)
		}
	}
}

// why tells what has ended the watch: an error of its carrier, or that its time is over.
func (s *stream) why(err error) ending {
	switch {
	case s.leave.Err() != nil:
		return ending{code: wire.CloseDrain, retry: s.comeBack(), reason: "this gateway is going"}
	case errors.Is(err, watch.ErrSlow):
		return ending{code: wire.CloseSlow, reason: "resume"}
	case err == nil && s.carrier.Context().Err() == nil:
		return ending{code: wire.CloseExpired, reason: "the token or cookie has expired; come back with a fresh one"}
	}
	return ending{} // the reader has gone
}

// news is that of a view that has nothing more for now; a view that isn't there never has any.
func (s *stream) news(i int) <-chan struct{} {
	if i >= len(s.views) || s.views[i].ended {
		return nil
	}
	return s.views[i].News()
}

// round asks each view once, and tells whether any had something.
func (s *stream) round(ctx context.Context) (sent bool, err error) {
	for i := range s.views {
		v := &s.views[i]
		if v.ended {
			continue
		}
		u, err := v.Next(ctx)
		switch {
		case err != nil && live.Lasting(err):
			s.end(v)
			p, _ := problemOf(err)
			if err := s.send(&api.WatchMessage{Topic: v.topic.String(), Cursor: s.cursor(), Problem: &p}, "problem"); err != nil {
				return false, err
			}
			sent = true
		case err != nil:
			s.again.Reset(againAfter)
		case u != nil:
			if err := s.send(messageOf(v.topic, u, s.cursor()), kindOf(u)); err != nil {
				return false, err
			}
			sent = true
		}
	}
	return sent, nil
}

func kindOf(u *live.Update) string {
	if u.Snapshot {
		return "snapshot"
	}
	return "delta"
}

// end closes a view, once.
func (s *stream) end(v *topicView) {
	if !v.ended {
		v.ended = true
		v.Close()
	}
}

// cursor is that of all topics that haven't ended.
func (s *stream) cursor() string {
	var c live.Cursor
	for _, v := range s.views {
		if p := v.Position(); !v.ended && p != (live.Position{}) {
			c = append(c, live.Place{Topic: v.topic, Position: p})
		}
	}
	return c.String()
}

// send writes a message; kind is for the metrics.
func (s *stream) send(m *api.WatchMessage, kind string) error {
	m.Time = time.Now().UnixMilli()
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := s.carrier.Send(text, m.Cursor); err != nil {
		return err
	}
	s.count(kind, len(text))
	s.beat.Reset(api.WatchBeat * time.Second)
	return nil
}
