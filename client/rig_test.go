package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rig is a link, its peer and some gates, in a bubble of synctest.
type rig struct {
	t     *testing.T
	net   *pipes
	gates []*gate
	agent *agent
	link  *Link
	id    *HostIdentity
	logs  *syncBuffer
	stop  context.CancelFunc
	ended chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// bubble runs a test with gates g0, g1, ... that setup may change before the link starts.
func bubble(t *testing.T, gates int, setup func(r *rig, cfg *Config), test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: newPipes(), agent: newAgent(t), logs: &syncBuffer{}, ended: make(chan error, 1)}
		pub, key, _ := ed25519.GenerateKey(nil)
		r.id = NewIdentity("web-1", key)
		cfg := Config{Identity: r.id, Network: Network{Proxy: "direct", Dial: r.net.dial}, Log: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		for i := range gates {
			g := newGate(t)
			g.key = pub
			r.gates = append(r.gates, g)
			cfg.Gateways = append(cfg.Gateways, fmt.Sprintf("http://g%d", i))
		}
		if setup != nil {
			setup(r, &cfg)
		}
		for i, g := range r.gates {
			l := r.net.listen(fmt.Sprintf("g%d:80", i))
			go g.server.Serve(l)
		}
		link, err := NewLink(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.link = link
		defer func() {
			if t.Failed() {
				log := r.logs.String()
				t.Logf("log:\n%s", log[:min(len(log), 4000)])
			}
			if r.stop != nil {
				r.end()
			}
			for _, g := range r.gates {
				g.server.Close()
				g.mu.Lock()
				var conns []*gateConn
				for c := range g.conns {
					conns = append(conns, c)
				}
				g.mu.Unlock()
				for _, c := range conns {
					c.conn.CloseNow()
				}
			}
		}()
		test(r)
	})
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.link.Run(ctx, r.agent) }()
}

// up waits for a session over a transport.
func (r *rig) up(tr Transport) Status {
	r.t.Helper()
	for range 1000 {
		if st := r.link.Status(); st.Up && st.Transport == tr {
			return st
		}
		time.Sleep(time.Second)
	}
	r.t.Fatalf("no session over the %s: %+v", tr, r.link.Status())
	return Status{}
}

// end ends the link, and checks that it ends well and in time.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	r.stop = nil
	start := time.Now()
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run returned %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		r.t.Errorf("Run took %v to end", took)
	}
}

// startedOnce checks that each job was started once, whatever was cut.
func (r *rig) startedOnce(execs ...string) {
	r.t.Helper()
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	for _, x := range execs {
		if run := r.agent.xs[x]; run == nil || run.gos != 1 {
			r.t.Errorf("%s: %+v, want one start", x, run)
		}
	}
}

const (
	jobA = "0123456789012345678901234a.web-1"
	jobB = "0123456789012345678901234b.web-1"
)

func names(n int) (xs []string) {
	for i := range n {
		xs = append(xs, fmt.Sprintf("012345678901234567890123%02d.web-1", i))
	}
	return xs
}
