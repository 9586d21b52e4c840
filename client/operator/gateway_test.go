package operator

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// site is a real gateway on a real store. Its hosts are played on the store, as if another
// gateway carried them.
type site struct {
	t     *testing.T
	store queue.Store
	addr  string
	token string
}

func newSite(t *testing.T, hosts ...queue.HostID) *site {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "rexgate.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, h := range hosts {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Enroll(t.Context(), queue.Enrollment{Host: h, PublicKey: pub, Labels: map[string]string{"role": "web"}, Token: "t", Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	signer := auth.NewSigner(key)
	server, err := gateway.NewServer(gateway.ServerConfig{Listener: ln, DrainTime: 10 * time.Second,
		Gateway: gateway.Config{Store: store, Name: "gw", Signer: signer, PublicURL: "http://gate.test", Log: log}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	token, _, err := signer.SignOperator(auth.Operator{Subject: "ann", Scopes: auth.Scopes()}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, store: store, addr: ln.Addr().String(), token: token}
}

func (s *site) client(addr string) *Client {
	s.t.Helper()
	c, err := New(Options{Server: "http://" + addr, Token: StaticToken(s.token)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// run plays a host that takes one job and does as told: it puts out the pieces one by one.
func (s *site) run(ctx context.Context, host queue.HostID, outcome queue.State, pieces [][]byte, pause time.Duration) error {
	c, err := s.store.Claim(ctx, queue.Claim{Host: host, Incarnation: 1, Gateway: "gw-2", Transport: queue.TransportSocket,
		Generation: "g", Nonce: "n", BootID: "b", AgentVersion: "1"})
	if err != nil {
		return err
	}
	var d queue.Delivery
	for d.Token == "" {
		f, err := s.store.Lease(ctx, queue.Fetch{Host: host, Session: c.Session, Gateway: "gw-2", After: c.N, Max: 1, TTL: time.Minute})
		if err != nil {
			return err
		}
		if len(f.Deliveries) > 0 {
			d = f.Deliveries[0]
		} else if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	events := []queue.Event{{Kind: queue.EventAccepted, Token: d.Token, Position: 1}, {Kind: queue.EventStarted}}
	for i, p := range pieces {
		stream := queue.Stdout
		if i%5 == 4 {
			stream = queue.Stderr
		}
		events = append(events, queue.Event{Kind: queue.EventOutput, Stream: stream, Data: p})
	}
	code := 0
	if outcome != queue.Succeeded {
		code = 7
	}
	events = append(events, queue.Event{Kind: queue.EventFinished, Outcome: outcome, ExitCode: code})
	for i, e := range events {
		e.Execution, e.Seq, e.At = d.Execution.ID(), int64(i+1), time.Now()
		acks, err := s.store.Record(ctx, queue.HostEvents{Host: host, Incarnation: 1, Generation: "g", Events: []queue.Event{e}})
		if err != nil {
			return err
		}
		if acks[0].Stored != e.Seq {
			return fmt.Errorf("event %d: stored %d, %s %s", e.Seq, acks[0].Stored, acks[0].Verdict, acks[0].Reason)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

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

// TestRealGateway makes every call of the SDK once, against what really serves it.
func TestRealGateway(t *testing.T) {
	s := newSite(t, "web1", "web2", "web3")
	c, ctx := s.client(s.addr), t.Context()
	req := api.JobRequest{Name: "n", Script: "#!/bin/sh\nexit 7\n", Selector: "role=web", RunTimeout: api.Duration(time.Minute),
		Offline: "wait", SupersedeKey: "k", Recheck: true}
	job, err := c.SubmitWithKey(ctx, "key", req)
	if err != nil || job.Targets != 3 {
		t.Fatalf("Submit: %+v %v", job, err)
	}
	if again, err := c.SubmitWithKey(ctx, "key", req); err != nil || again.ID != job.ID {
		t.Errorf("again under the same key: %s %v", again.ID, err)
	}
	req.Name = "other"
	if _, err := c.SubmitWithKey(ctx, "key", req); !IsProblem(err, "conflict") {
		t.Errorf("another request under the same key: %v", err)
	}
	if err := s.run(ctx, "web1", queue.Succeeded, [][]byte{[]byte("hello\n")}, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.run(ctx, "web2", queue.Failed, nil, 0); err != nil {
		t.Fatal(err)
	}
	full, err := c.Job(ctx, job.ID, JobOptions{Script: true, Wait: time.Millisecond})
	if err != nil || full.Script != "#!/bin/sh\nexit 7\n" || full.Done != 2 || full.Failed != 1 || full.Outstanding != 1 ||
		full.Offline != "wait" || full.SupersedeKey != "k" || full.Recheck != "role=web" {
		t.Errorf("Job: %+v %v", full, err)
	}
	if states, err := c.States(ctx, job.ID); err != nil || string(states) != "sfq" {
		t.Errorf("States: %q %v", states, err)
	}
	var targets, failed, waiting, jobs, hosts []string
	for h, err := range c.Targets(ctx, job.ID) {
		must(t, err)
		targets = append(targets, h)
	}
	for x, err := range c.Executions(ctx, ExecutionQuery{Job: job.ID, States: []string{"failed", "lost"}, Limit: 1}) {
		must(t, err)
		failed = append(failed, fmt.Sprint(x.Host, x.Result.ExitCode))
	}
	queued, err := c.HostQueue(ctx, "web3")
	must(t, err)
	for _, x := range queued {
		waiting = append(waiting, x.Job)
	}
	for j, err := range c.Jobs(ctx, 1) {
		must(t, err)
		jobs = append(jobs, j.ID)
	}
	for h, err := range c.Hosts(ctx, HostQuery{Selector: "role in (web)", Limit: 2}) {
		must(t, err)
		hosts = append(hosts, h.ID)
	}
	for what, got := range map[string][2][]string{"targets": {targets, {"web1", "web2", "web3"}}, "failed": {failed, {"web27"}}, "queue": {waiting, {job.ID}},
		"jobs": {jobs, {job.ID}}, "hosts": {hosts, {"web1", "web2", "web3"}}} {
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	var out bytes.Buffer
	if n, err := c.CopyOutput(ctx, &out, OutputRequest{Job: job.ID, Host: "web1", Offset: 2}); err != nil || n != 4 || out.String() != "llo\n" {
		t.Errorf("CopyOutput: %q %v", &out, err)
	}
	if n, err := c.CopyOutput(ctx, &out, OutputRequest{Job: job.ID, Host: "web1", Offset: 6}); err != nil || n != 0 {
		t.Errorf("CopyOutput from the end: %d %v", n, err)
	}
	again, err := c.Rerun(ctx, job.ID, api.Selection{States: []string{"failed"}})
	if err != nil || again.Targets != 1 || again.RerunOf != job.ID {
		t.Errorf("Rerun: %+v %v", again, err)
	}
	x, err := c.Execution(ctx, job.ID, "web3")
	if err != nil || x.Why == nil || x.Why.Code != "never_seen" || x.Why.Since == nil || queued[0].Why == nil || *queued[0].Why.Since != *x.Why.Since {
		t.Errorf("Execution: %+v %v", x, err)
	}
	for x, err := range c.Executions(ctx, ExecutionQuery{Job: job.ID, Why: true, Limit: 2}) {
		if err != nil || (x.Why != nil) != (x.Host == "web3") {
			t.Errorf("why: %+v %v", x, err)
		}
	}
	if a, err := c.PurgeHost(ctx, "web3", false); err != nil || a != (api.Cancellation{Cancelled: 1}) {
		t.Errorf("PurgeHost: %+v %v", a, err)
	}
	if _, err := c.PurgeHost(ctx, "nohost", true); !IsProblem(err, "not_found") {
		t.Errorf("PurgeHost of an unknown host: %v", err)
	}
	if a, err := c.Cancel(ctx, job.ID, api.Selection{Selector: new("role=db")}); !IsProblem(err, "invalid") {
		t.Errorf("Cancel by a selector that matches none: %+v %v", a, err)
	}
	if a, err := c.Cancel(ctx, job.ID, api.Selection{}); err != nil || a != (api.Cancellation{}) {
		t.Errorf("Cancel of what has ended: %+v %v", a, err)
	}
	if a, err := c.Cancel(ctx, again.ID, api.Selection{Selector: new("role=web")}); err != nil || a.Cancelled != 1 {
		t.Errorf("Cancel: %+v %v", a, err)
	}
	one := "1"
	if h, err := c.PatchHost(ctx, "web1", api.HostPatch{Labels: map[string]*string{"n": &one, "role": nil}}); err != nil || h.Labels["n"] != "1" || len(h.Labels) != 1 {
		t.Errorf("PatchHost: %+v %v", h, err)
	}
	if tok, err := c.EnrollToken(ctx, api.EnrollTokenRequest{Hosts: "db*", Uses: 3, TTL: api.Duration(time.Minute)}); err != nil || tok.Token == "" {
		t.Errorf("EnrollToken: %+v %v", tok, err)
	}
	must(t, c.RevokeHost(ctx, "web2"))
	must(t, c.DeleteHost(ctx, "web3"))
	if _, err := c.Host(ctx, "web3"); !IsProblem(err, "not_found") {
		t.Errorf("a deleted host: %v", err)
	}
	_, err = c.Submit(ctx, api.JobRequest{Script: "x", Hosts: []string{"nohost"}})
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != "not_found" || !slices.Equal(p.Items, []string{"nohost"}) {
		t.Errorf("an unknown host: %v", err)
	}
	if _, err := c.Submit(ctx, api.JobRequest{Script: "x", Selector: "role=="}); err == nil {
		t.Error("a broken selector was taken")
	}
	bad := s.client(s.addr)
	bad.opt.Token = StaticToken("nonsense")
	if _, err := bad.Host(ctx, "web1"); !IsProblem(err, "unauthenticated") {
		t.Errorf("a bad token: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
