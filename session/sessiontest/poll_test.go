package sessiontest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// pollTransport is the transport of package poll, over one gateway or all in turn,
// request by request.
func pollTransport(gateways int) Transport {
	return Transport{Kind: queue.TransportPoll, Start: func(t testing.TB, hubs []*session.Hub) Carrier {
		return &pollCarrier{servers: start(t, hubs[:gateways])}
	}}
}

type pollCarrier struct{ *servers }

type answer struct {
	status int
	header http.Header
	body   []byte
}

func exchange(ctx context.Context, method, url string, peer session.Peer, body []byte) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = headersOf(peer)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// pollLink polls ahead of Retry-After, which only has to be there: the pace is
// tested elsewhere.
type pollLink struct {
	*line
	t    testing.TB
	c    *pollCarrier
	peer session.Peer
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	session int64
	posts   chan []byte
}

func (c *pollCarrier) Dial(t testing.TB, peer session.Peer, hello wire.Hello) Link {
	l := &pollLink{line: newLine(), t: t, c: c, peer: peer, posts: make(chan []byte, 1000)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	t.Cleanup(l.Cut)
	frame, err := wire.Encode(&hello)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.postWhenFree(l.ctx, c.url()+wire.PathMessages, peer, frame)
	if err != nil {
		l.end(err)
		return l
	}
	if a.status != http.StatusOK {
		l.refused(a, true)
		return l
	}
	msgs, err := wire.Decode(a.body)
	if err != nil {
		t.Fatal(err)
	}
	w := msgs[0].(*wire.Welcome)
	l.session = w.Session
	l.put(msgs...)
	l.wg.Go(func() { l.poll(w.N) })
	l.wg.Go(l.post)
	return l
}

// postWhenFree repeats a POST while another of the host is being served: one that was cut may
// still be at the store.
func (c *pollCarrier) postWhenFree(ctx context.Context, url string, peer session.Peer, frame []byte) (*answer, error) {
	for {
		a, err := exchange(ctx, http.MethodPost, url, peer, frame)
		if err != nil || a.status != http.StatusTooManyRequests {
			return a, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *pollLink) poll(after int64) {
	for l.ctx.Err() == nil {
		url := fmt.Sprintf("%s%s?session=%d&after=%d&wait=1s", l.c.url(), wire.PathPoll, l.session, after)
		a, err := exchange(l.ctx, http.MethodGet, url, l.peer, nil)
		if err != nil {
			l.end(err)
			return
		}
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 0 || a.header.Get("Cache-Control") != "no-store" {
			l.t.Errorf("status %d with Retry-After %q, Cache-Control %q", a.status, a.header.Get("Retry-After"), a.header.Get("Cache-Control"))
		}
		switch a.status {
		case http.StatusNoContent:
		case http.StatusOK:
			msgs, err := wire.Decode(a.body)
			if err != nil {
				l.t.Errorf("%v in %.200s", err, a.body)
				return
			}
			for _, m := range msgs {
				switch m := m.(type) {
				case *wire.Job:
					after = max(after, m.N)
				case *wire.Cancel:
					after = max(after, m.N)
				}
			}
			l.put(msgs...)
		default:
			l.refused(a, false)
			return
		}
	}
}

func (l *pollLink) post() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case frame := <-l.posts:
			url := fmt.Sprintf("%s%s?session=%d", l.c.url(), wire.PathMessages, l.session)
			a, err := l.c.postWhenFree(l.ctx, url, l.peer, frame)
			switch {
			case err != nil:
				l.end(err)
				return
			case a.status == http.StatusOK:
				msgs, err := wire.Decode(a.body)
				if err != nil {
					l.t.Errorf("%v in %.200s", err, a.body)
				}
				l.put(msgs...)
			case a.status != http.StatusNoContent:
				l.refused(a, false)
				return
			}
		}
	}
}

// refused ends the link with the close code that means the same.
func (l *pollLink) refused(a *answer, hello bool) {
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	if err := json.Unmarshal(a.body, &p); err != nil || p.Status != a.status || p.Title == "" || p.Type != "urn:rexgate:problem:"+p.Code ||
		a.header.Get("Content-Type") != "application/problem+json" {
		l.t.Errorf("status %d, %s: not a problem document: %.200s", a.status, a.header.Get("Content-Type"), a.body)
	}
	after, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil {
		l.t.Errorf("status %d without Retry-After", a.status)
	}
	c := &Closed{Reason: p.Detail, Retry: time.Duration(after) * time.Second}
	switch {
	case a.status == http.StatusBadRequest, a.status == http.StatusRequestEntityTooLarge:
		c.Code = wire.CloseMalformed
	case a.status == http.StatusForbidden && hello:
		c.Code = wire.CloseRevoked
	case a.status == http.StatusForbidden:
		c.Code = wire.CloseForbidden
	case p.Code == "superseded":
		c.Code = wire.CloseSuperseded
	case p.Code == "duplicate":
		c.Code = wire.CloseDuplicate
	case p.Code == "draining":
		c.Code = wire.CloseDrain
	case a.status == http.StatusServiceUnavailable:
		c.Code = wire.CloseUnavailable
	}
	l.end(c)
}

func (l *pollLink) Send(msgs ...wire.Message) {
	frame, err := wire.Encode(msgs...)
	if err != nil {
		l.t.Error(err)
		return
	}
	l.SendRaw(frame)
}

func (l *pollLink) SendRaw(frame []byte) { l.posts <- frame }

func (l *pollLink) Cut() {
	l.stop()
	l.wg.Wait()
}
