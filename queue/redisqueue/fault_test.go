package redisqueue_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// Functions that Redis has forgotten are sent again.
func TestFunctionFlush(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (string, []*redistest.Server){
		"standalone": func(t *testing.T) (string, []*redistest.Server) {
			s := redistest.Start(t)
			return s.URL, []*redistest.Server{s}
		},
		"cluster": func(t *testing.T) (string, []*redistest.Server) {
			c := redistest.StartCluster(t, 3)
			return c.URL, c.Nodes
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, nodes := start(t)
			f := newFleet(t, open(t, redisqueue.Options{URL: url}), 20, numbered)
			flush := func() {
				for _, n := range nodes {
					rdb := n.Client()
					f.must(rdb.FunctionFlush(f.ctx).Err())
					f.must(rdb.ScriptFlush(f.ctx).Err())
					f.must(rdb.Close())
				}
			}
			flush()
			job := f.submit()
			flush()
			f.all(1)
			flush()
			_, err := f.s.Sweep(f.ctx, 10, queue.Retention{})
			f.must(err)
			f.check(job)
		})
	}
}

// A subscription whose connection is killed comes back, says so, and hears
// again.
func TestSubscriptionKilled(t *testing.T) {
	srv := redistest.Start(t)
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL}), 3, numbered)
	rdb := srv.Client()
	defer rdb.Close()
	ctx, cancel := context.WithCancel(f.ctx)
	hints := make(chan queue.Hint, 100)
	done := make(chan error, 1)
	go func() { done <- f.s.Subscribe(ctx, "gw", func(h queue.Hint) { hints <- h }) }()
	next := func(what string) queue.Hint {
		t.Helper()
		select {
		case h := <-hints:
			return h
		case <-f.ctx.Done():
			t.Fatalf("no hint after %s", what)
			return queue.Hint{}
		}
	}
	for round := range 3 {
		if h := next("(re)subscribing"); len(h.Hosts) != 0 {
			t.Fatalf("round %d: first hint %v", round, h)
		}
		for _, target := range f.targets {
			f.claim(target)
		}
		f.submit()
		heard := make(map[queue.HostID]bool)
		for len(heard) < len(f.targets) {
			for _, h := range next("work").Hosts {
				heard[h] = true
			}
		}
		f.all(1)
		for len(hints) > 0 {
			<-hints
		}
		n, err := rdb.ClientKillByFilter(f.ctx, "TYPE", "pubsub").Result()
		f.must(err)
		if n != 1 {
			t.Fatalf("killed %d subscriptions", n)
		}
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Subscribe: %v", err)
	}
}

// A subscription outlives the server, and Close ends it.
func TestSubscriptionOutlivesServer(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, redisqueue.Options{URL: srv.URL})
	hints := make(chan queue.Hint, 100)
	done := make(chan error, 1)
	go func() { done <- s.Subscribe(context.Background(), "gw", func(h queue.Hint) { hints <- h }) }()
	<-hints
	srv.Restart()
	select {
	case h := <-hints:
		if len(h.Hosts) != 0 {
			t.Errorf("hint %v", h)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no hint after the server came back")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; queue.CodeOf(err) != queue.Unavailable {
		t.Errorf("Subscribe on a closed store: %v", err)
	}
}

// Redis is killed in the middle of the work, and comes back with its
// append-only file: what was acknowledged is there, and the sessions go on.
func TestKillAndRestart(t *testing.T) {
	srv := redistest.Start(t, "--appendfsync", "always") // with everysec a slow disk makes Redis keep up to 2 s to itself
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL}), 60, numbered)
	var jobs []queue.JobID
	for range 3 {
		jobs = append(jobs, f.submit())
	}
	work := make(chan struct{})
	go func() {
		defer close(work)
		f.all(len(jobs))
	}()
	for range 3 {
		srv.Kill()
		_, err := f.s.Job(f.ctx, jobs[0])
		if queue.CodeOf(err) != queue.Unavailable {
			t.Errorf("Job without a server: %v", err)
		}
		srv.Restart()
		var j queue.JobStatus
		f.must(f.again(func() (err error) { j, err = f.s.Job(f.ctx, jobs[0]); return err }))
		t.Logf("up again, with %d done", j.Counters.Done())
	}
	<-work
	f.check(jobs...)
}

// What Redis refuses to write is refused whole, as Unavailable, and nothing of it
// is done.
func TestRefusedWrites(t *testing.T) {
	srv := redistest.Start(t)
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL + "?max_retries=-1"}), 10, numbered)
	rdb := srv.Client()
	defer rdb.Close()
	for name, refuse := range map[string]struct{ on, off []any }{
		"out of memory": {[]any{"CONFIG", "SET", "maxmemory", "1mb"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
		"read only":     {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}},
	} {
		t.Run(name, func(t *testing.T) {
			job := f.submit()
			held := make([]queue.Delivery, len(f.targets))
			sessions := make([]queue.Claimed, len(f.targets))
			for i, target := range f.targets {
				sessions[i] = f.claim(target)
				l, err := f.s.Lease(f.ctx, queue.Fetch{Host: target.Host, Session: sessions[i].Session, Gateway: "gw", Max: 1, TTL: time.Hour})
				f.must(err)
				held[i] = l.Deliveries[0]
			}
			before, err := rdb.Do(f.ctx, "DEBUG", "DIGEST").Text()
			f.must(err)
			f.must(rdb.Do(f.ctx, refuse.on...).Err())
			n := f.job()
			for verb, call := range map[string]func() error{
				"Record": func() error {
					_, err := f.s.Record(f.ctx, queue.HostEvents{Host: f.targets[0].Host, Incarnation: 1, Generation: "g", Events: []queue.Event{
						{Execution: held[0].Execution.ID(), Seq: 1, Kind: queue.EventAccepted, At: time.Now(), Token: held[0].Token, Position: 1}}})
					return err
				},
				"Claim": func() error {
					_, err := f.s.Claim(f.ctx, queue.Claim{Host: f.targets[1].Host, Incarnation: 1, Gateway: "gw", Transport: queue.TransportPoll, Generation: "g"})
					return err
				},
				"Release": func() error { return f.s.Release(f.ctx, f.targets[2].Host, sessions[2].Session) },
				"Cancel":  func() error { _, err := f.s.Cancel(f.ctx, job, nil, "bob"); return err },
				"Sweep":   func() error { _, err := f.s.Sweep(f.ctx, 10, queue.Retention{}); return err },
				"Revoke":  func() error { return f.s.Revoke(f.ctx, f.targets[3].Host) },
				"Submit":  func() error { _, _, err := f.s.Submit(f.ctx, n); return err },
			} {
				err := call()
				if queue.CodeOf(err) != queue.Unavailable {
					t.Errorf("%s: %v", verb, err)
				} else if err.(*queue.Error).Retry <= 0 {
					t.Errorf("%s doesn't say when to come back", verb)
				}
			}
			if _, err := f.s.Job(f.ctx, job); err != nil {
				t.Errorf("Job: %v", err)
			}
			after, err := rdb.Do(f.ctx, "DEBUG", "DIGEST").Text()
			f.must(err)
			if before != after {
				t.Error("a refused verb changed something")
			}
			f.must(rdb.Do(f.ctx, refuse.off...).Err())
			for i, target := range f.targets {
				f.must(f.run(target, held[i]))
			}
			f.check(job)
		})
	}
}

// With the server's memory nearly used up submits give Full, and results are
// still taken.
func TestFullByMaxmemory(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, redisqueue.Options{URL: srv.URL})
	f := newFleet(t, s, 3, numbered)
	job := f.submit()
	rdb := srv.Client()
	defer rdb.Close()
	used, limit, err := s.Room(f.ctx)
	f.must(err)
	if used == 0 || limit != 0 {
		t.Errorf("Room: %d of %d", used, limit)
	}
	f.must(rdb.Set(f.ctx, "ballast", strings.Repeat("x", 16<<20), 0).Err())
	// The room is measured once a second, and what is used falls while Redis lets go of the buffers
	// that the ballast came through.
	var bound int64
	deadline := time.Now().Add(10 * time.Second)
	for err = nil; queue.CodeOf(err) != queue.Full && time.Now().Before(deadline); {
		info, ierr := rdb.InfoMap(f.ctx, "memory").Result()
		f.must(ierr)
		used, ierr = strconv.ParseInt(info["Memory"]["used_memory"], 10, 64)
		f.must(ierr)
		bound = used * 100 / 88
		f.must(rdb.ConfigSet(f.ctx, "maxmemory", strconv.FormatInt(bound, 10)).Err())
		_, _, err = s.Submit(f.ctx, f.job())
	}
	if queue.CodeOf(err) != queue.Full || err.(*queue.Error).Retry == 0 {
		t.Fatalf("Submit: %v", err)
	}
	if _, limit, err = s.Room(f.ctx); limit != bound || err != nil {
		t.Errorf("Room: limit %d, %v", limit, err)
	}
	f.all(1)
	f.check(job)
}

// A server that doesn't answer makes verbs end with their context.
func TestSilentServer(t *testing.T) {
	srv := redistest.Start(t)
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL}), 1, numbered)
	srv.Pause()
	defer srv.Resume()
	for verb, call := range map[string]func(ctx context.Context) error{
		"Job":    func(ctx context.Context) error { _, err := f.s.Job(ctx, queue.NewJobID(time.Now())); return err },
		"Record": func(ctx context.Context) error { return f.s.Release(ctx, f.targets[0].Host, 1) },
	} {
		ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
		start := time.Now()
		if err := call(ctx); queue.CodeOf(err) != queue.Unavailable {
			t.Errorf("%s: %v", verb, err)
		}
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("%s took %v", verb, d)
		}
		cancel()
	}
}

// A store that isn't there is reported as such, at open and later.
func TestNoServer(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, redisqueue.Options{URL: srv.URL})
	srv.Kill()
	if _, err := s.Now(context.Background()); queue.CodeOf(err) != queue.Unavailable {
		t.Errorf("Now: %v", err)
	}
	if _, err := redisqueue.Open(context.Background(), redisqueue.Options{URL: srv.URL}); queue.CodeOf(err) != queue.Unavailable || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open: %v", err)
	}
}
