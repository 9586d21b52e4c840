package queuetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// goes collects under which tokens the store let executions start.
type goes struct {
	mu     sync.Mutex
	tokens map[queue.ExecutionID]map[string]bool
}

func (g *goes) add(id queue.ExecutionID, token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tokens == nil {
		g.tokens = map[queue.ExecutionID]map[string]bool{}
	}
	if g.tokens[id] == nil {
		g.tokens[id] = map[string]bool{}
	}
	g.tokens[id][token] = true
}

// together runs n functions at once and waits for all.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// work runs everything that is delivered under one session until nothing is.
// Several goroutines may do so at once with the same session: each reports the
// same events, as repeated requests do.
func (e *env) work(a *agent, g *goes, until func() bool) {
	for {
		f, err := e.s.Lease(e.ctx, a.fetch(3)) // a.n stays 0: all that is held comes again
		if err != nil {
			e.Errorf("Lease: %v", err)
			return
		}
		for _, d := range f.Deliveries {
			if d.Cancel {
				continue
			}
			acc := queue.Event{Execution: d.Execution.ID(), Seq: 1, Kind: queue.EventAccepted, At: f.Now, Token: d.Token, Position: d.N}
			acks, err := a.tryRecord(acc)
			if err != nil {
				e.Errorf("Record: %v", err)
				return
			}
			if acks[0].Verdict != queue.VerdictGo && acks[0].Verdict != queue.VerdictCancel {
				continue // ended, or flagged
			}
			g.add(d.Execution.ID(), d.Token)
			events := []queue.Event{{Execution: d.Execution.ID(), Seq: 2, Kind: queue.EventStarted, At: f.Now}}
			for i := range int64(5) {
				events = append(events, queue.Event{Execution: d.Execution.ID(), Seq: 3 + i, Kind: queue.EventOutput, At: f.Now, Stream: queue.Stdout, Data: fmt.Appendf(nil, "%d of %s\n", i, d.Execution.Host)})
			}
			events = append(events, queue.Event{Execution: d.Execution.ID(), Seq: 8, Kind: queue.EventFinished, At: f.Now, Outcome: queue.Succeeded})
			if _, err := a.tryRecord(events...); err != nil {
				e.Errorf("Record: %v", err)
				return
			}
		}
		if len(f.Deliveries) == 0 && until() {
			return
		}
	}
}

func concurrentScenarios() []scenario {
	return []scenario{
		{name: "many hosts, each asking thrice at once", once: true, run: func(e *env) {
			const hostsN, jobsN, askers = 24, 4, 3
			hosts := e.many(hostsN)
			agents := make([]*agent, hostsN)
			for i, h := range hosts {
				agents[i] = e.agent(h, slots(map[queue.Lane]int{"default": 2}))
			}
			jobs := make([]queue.JobID, jobsN)
			for i := range jobs {
				jobs[i] = e.submit(hosts)
			}
			var g goes
			released := make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() { // expanders, who meet on each job, and sweepers
				defer close(released)
				together(3, func(i int) {
					for _, j := range jobs {
						for {
							x, err := e.s.Expand(e.ctx, j, fmt.Sprint("driver-", i), 7)
							if err != nil {
								e.Errorf("Expand: %v", err)
								return
							}
							if x.Done || x.Busy {
								break
							}
						}
					}
					if _, err := e.s.Sweep(e.ctx, 100, queue.Retention{}); err != nil {
						e.Errorf("Sweep: %v", err)
					}
				})
			})
			done := func() bool {
				select {
				case <-released:
					return true
				default:
					return false
				}
			}
			all.Go(func() {
				together(hostsN*askers, func(i int) { e.work(agents[i%hostsN], &g, done) })
			})
			all.Wait()
			for _, j := range jobs {
				same(e, "states", string(e.states(j)), strings.Repeat("s", hostsN))
				for _, h := range hosts {
					var want strings.Builder
					for i := range 5 {
						fmt.Fprintf(&want, "%d of %s\n", i, h)
					}
					same(e, "output", string(e.read(j, h, queue.Stdout)), want.String())
				}
			}
			same(e, "started executions", len(g.tokens), hostsN*jobsN)
			for id, tokens := range g.tokens {
				same(e, "tokens under which "+string(id)+" was started", len(tokens), 1)
			}
		}},
		{name: "two connections of a host, a cancel, an expiry", once: true, run: func(e *env) {
			hosts := e.many(8)
			jobs := []queue.JobID{e.queuedAll(hosts), e.queuedAll(hosts), e.queuedAll(hosts, pickup(time.Second))}
			var g goes
			together(3*len(hosts)+1, func(i int) {
				switch {
				case i == 3*len(hosts):
					if _, err := e.s.Cancel(e.ctx, jobs[1], nil, "bob"); err != nil {
						e.Errorf("Cancel: %v", err)
					}
					e.advance(2 * time.Second)
					if _, err := e.s.Sweep(e.ctx, 1000, queue.Retention{}); err != nil {
						e.Errorf("Sweep: %v", err)
					}
				default:
					e.contend(hosts[i%len(hosts)], &g)
				}
			})
			for id, tokens := range g.tokens {
				same(e, "tokens under which "+string(id)+" was started", len(tokens), 1)
			}
			for _, j := range jobs {
				for _, x := range e.executions(queue.ExecutionQuery{Job: j}) {
					if started := len(g.tokens[x.ID()]) > 0; started != (x.AcceptedAt != time.Time{}) {
						e.Errorf("%v of %s: let go %v, accepted at %v", x.State, x.ID(), started, x.AcceptedAt)
					}
				}
			}
		}},
		{name: "one key submitted at once", once: true, run: func(e *env) {
			e.enroll("h")
			ns := make([]queue.NewJob, 12)
			for i := range ns {
				ns[i] = e.newJob("h")
				ns[i].IdempotencyKey, ns[i].Digest = "key", "d"
			}
			var mu sync.Mutex
			ids, created := map[queue.JobID]bool{}, 0
			together(len(ns), func(i int) {
				j, c, err := e.s.Submit(e.ctx, ns[i])
				if err != nil {
					e.Errorf("Submit: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[j.ID] = true
				if c {
					created++
				}
			})
			same(e, "ids, created", words(len(ids), created), "1 1")
			same(e, "jobs", len(e.allJobs()), 1)
		}},
		{name: "a token's uses at once", once: true, run: func(e *env) {
			expires := e.now().Add(time.Hour)
			var mu sync.Mutex
			enrolled := 0
			together(16, func(i int) {
				_, err := e.s.Enroll(e.ctx, queue.Enrollment{Host: queue.HostID(fmt.Sprint("h", i)), PublicKey: keyOf("k"), Token: "t", Uses: 5, Expires: expires})
				if err != nil && queue.CodeOf(err) != queue.Forbidden {
					e.Errorf("Enroll: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					enrolled++
				}
			})
			same(e, "enrolled", enrolled, 5)
		}},
	}
}

// contend is one of several processes that claim a host again and again, each
// for its own connection, and accept what they get. They share a journal, as
// connections of one agent do.
func (e *env) contend(host queue.HostID, g *goes) {
	h, err := e.s.Host(e.ctx, host)
	if err != nil {
		e.Errorf("Host: %v", err)
		return
	}
	a := &agent{e: e, claim: queue.Claim{
		Host: host, Incarnation: h.Incarnation, Gateway: "gw", Transport: queue.TransportSocket, Generation: "gen-1", Nonce: "one process",
	}}
	for range 4 {
		c, err := e.s.Claim(e.ctx, a.claim) // Position 0: it proves nothing gone
		if err != nil {
			e.Errorf("Claim: %v", err)
			return
		}
		a.session, a.n = c.Session, c.N
		f, err := e.s.Lease(e.ctx, a.fetch(10))
		if err != nil {
			if queue.CodeOf(err) != queue.Superseded {
				e.Errorf("Lease: %v", err)
			}
			continue
		}
		for _, d := range f.Deliveries {
			if d.Cancel {
				continue
			}
			acks, err := a.tryRecord(queue.Event{Execution: d.Execution.ID(), Seq: 1, Kind: queue.EventAccepted, At: f.Now, Token: d.Token, Position: d.N})
			if queue.CodeOf(err) == queue.Superseded {
				continue
			}
			if err != nil {
				e.Errorf("Record: %v", err)
				continue
			}
			if acks[0].Verdict != queue.VerdictGo {
				continue
			}
			g.add(d.Execution.ID(), d.Token)
			_, err = a.tryRecord(queue.Event{Execution: d.Execution.ID(), Seq: 2, Kind: queue.EventFinished, At: f.Now, Outcome: queue.Failed})
			for queue.CodeOf(err) == queue.Superseded { // it is sent again by the next session
				if c, err = e.s.Claim(e.ctx, a.claim); err == nil {
					a.session, a.n = c.Session, c.N
					_, err = a.tryRecord(queue.Event{Execution: d.Execution.ID(), Seq: 2, Kind: queue.EventFinished, At: f.Now, Outcome: queue.Failed})
				}
			}
			if err != nil {
				e.Errorf("Record: %v", err)
			}
		}
	}
}
