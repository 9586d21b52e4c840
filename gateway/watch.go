package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/live"
	"github.com/rexgate/rexgate/gateway/watch"
	"github.com/rexgate/rexgate/session/wire"
)

// watch serves live views; api/watch.go is the contract.
func (g *Gateway) watch(w http.ResponseWriter, r *http.Request, c caller) error {
	q := parseQuery(r, []string{"topic", "cursor"})
	topics, err := watchTopics(q.values["topic"])
	if err != nil {
		return err
	}
	for _, t := range topics {
		if t.Host == "" {
			continue
		}
		if err := c.operator.Require(api.ScopeOutputRead); err != nil {
			return err
		}
	}
	socket := upgrades(r)
	switch {
	case r.Method != http.MethodGet:
		return refused(codeMethod, "a live view has no header to be looked at; GET it")
	case socket:
		if err := watch.CheckSocket(r); err != nil {
			return err
		}
	case !wantsEvents(r):
		return invalid("this is a stream: open a WebSocket with the subprotocol %s, or send Accept: %s", api.WatchProtocol, watch.EventStream)
	}
	seat, err := g.seats.take(c.operator.Subject)
	if err != nil {
		return err
	}
	defer seat.leave()
	s := &stream{expires: c.operator.Expires, leave: g.leave, comeBack: g.seats.comeBack, count: g.metrics.watched}
	defer s.close()
	if err := s.open(g.views, topics, live.ParseCursor(cursorOf(r, q))); err != nil {
		return err
	}
	if socket {
		writing, stop := g.untilLeft()
		defer stop()
		carrier, err := watch.AcceptSocket(writing, w, r)
		if err != nil {
			g.log.Debug("a watch wasn't upgraded", "operator", c.operator.Subject, "err", err)
			return nil // it was answered
		}
		defer carrier.Close()
		s.carrier = carrier
	} else {
		carrier, err := watch.AcceptEvents(w, r)
		if err != nil {
			return nil // the reader has gone
		}
		s.carrier = carrier
	}
	done := g.metrics.watching(s.carrier.Name())
	why := s.run()
	done(why.label())
	if why.code != 0 {
		s.carrier.End(why.code, why.retry, why.reason)
	}
	return nil
}

// watchTopics reads and checks the topics of a watch.
func watchTopics(names []string) ([]live.Topic, error) {
	if len(names) == 0 || len(names) > api.MaxTopics {
		return nil, invalid("topic: %d are given; 1 to %d are possible, each as topic=%s, topic=%sJOB or topic=%sJOB.HOST",
			len(names), api.MaxTopics, api.TopicJobs, api.TopicJob, api.TopicExecution)
	}
	var topics []live.Topic
	seen := map[live.Topic]bool{}
	for _, name := range names {
		t, err := live.ParseTopic(name)
		if err != nil {
			return nil, err
		}
		if seen[t] {
			return nil, invalid("topic: %.200s is given twice", name)
		}
		seen[t] = true
		topics = append(topics, t)
	}
	return topics, nil
}

// wantsEvents tells whether a request asks for server-sent events by name.
func wantsEvents(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(v, ",") {
			kind, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(kind), watch.EventStream) {
				return true
			}
		}
	}
	return false
}

// cursorOf gives the cursor: where a browser reconnects by itself, the header is newer than
// the address.
func cursorOf(r *http.Request, q *query) string {
	if last := r.Header.Get("Last-Event-ID"); last != "" && !upgrades(r) {
		return last
	}
	return q.values.Get("cursor")
}

// untilLeft gives a context that ends some seconds after the gateway began to go: what is written
// to somebody who doesn't read doesn't hold it up.
func (g *Gateway) untilLeft() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(g.leave, func() {
		t := time.AfterFunc(leaveWithin, cancel)
		context.AfterFunc(ctx, func() { t.Stop() })
	})
	return ctx, func() { stop(); cancel() }
}

// leaveWithin is the time that a watch has for its last message when the gateway goes.
const leaveWithin = 5 * time.Second

// ending is why a watch ends. Without a code the reader has gone.
type ending struct {
	code   wire.CloseCode
	retry  time.Duration
	reason string
}

// label names the reason in metrics.
func (e ending) label() string {
	switch e.code {
	case wire.CloseDrain:
		return "drain"
	case wire.CloseSlow:
		return "slow"
	case wire.CloseExpired:
		return "expired"
	}
	return "gone"
}
