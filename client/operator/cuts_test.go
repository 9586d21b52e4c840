package operator

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// cutter passes connections on to a server, and cuts all of them again and again.
type cutter struct {
	ln    net.Listener
	to    string
	mu    sync.Mutex
	conns map[net.Conn]bool
	cuts  int
	wg    sync.WaitGroup
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{ln: ln, to: to, conns: map[net.Conn]bool{}}
	c.wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				c.mu.Lock()
				c.conns[pair[0]] = true
				c.mu.Unlock()
				c.wg.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
					pair[1].Close()
					c.mu.Lock()
					delete(c.conns, pair[0])
					c.mu.Unlock()
				})
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
		c.cuts++
	}
}

// TestFollowThroughCuts follows a host's output from a real gateway while all connections are cut again
// and again: every byte arrives once.
func TestFollowThroughCuts(t *testing.T) {
	s := newSite(t, "web1")
	cutter := newCutter(t, s.addr)
	c := s.client(cutter.ln.Addr().String())
	job, err := c.Submit(t.Context(), api.JobRequest{Script: "x", Hosts: []string{"web1"}})
	if err != nil {
		t.Fatal(err)
	}
	var pieces [][]byte
	want := map[string][]byte{}
	for i := range 120 {
		p := fmt.Appendf(nil, "piece %d\n", i)
		pieces = append(pieces, p)
		stream := Stdout
		if i%5 == 4 {
			stream = Stderr
		}
		want[stream] = append(want[stream], p...)
		want[Both] = append(want[Both], p...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		defer close(over)
		if err := s.run(ctx, "web1", queue.Succeeded, pieces, 5*time.Millisecond); err != nil {
			t.Errorf("the host: %v", err)
		}
	})
	wg.Go(func() {
		tick := time.NewTicker(60 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				cutter.cut()
			case <-over:
				return
			}
		}
	})
	for stream, bytesWanted := range want {
		wg.Go(func() {
			var got bytes.Buffer
			_, err := c.CopyOutput(ctx, &got, OutputRequest{Job: job.ID, Host: "web1", Stream: stream, Follow: true})
			if err != nil || !bytes.Equal(got.Bytes(), bytesWanted) {
				t.Errorf("%q: %d bytes of %d, or others: %v", stream, got.Len(), len(bytesWanted), err)
			}
		})
	}
	var last api.Job
	for j, err := range c.Watch(ctx, job.ID, WatchOptions{Every: 100 * time.Millisecond}) {
		if err != nil {
			t.Fatal(err)
		}
		last = j
	}
	wg.Wait()
	if last.FinishedAt == nil || last.Counters["succeeded"] != 1 {
		t.Errorf("the job: %+v", last)
	}
	t.Logf("%d cuts", cutter.cuts)
	if cutter.cuts < 5 {
		t.Errorf("only %d cuts", cutter.cuts)
	}
}
