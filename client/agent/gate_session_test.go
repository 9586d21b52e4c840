package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// connect begins a session: hello, welcome, and what is to be delivered.
func (g *gate) connect() {
	g.t.Helper()
	g.cut()
	hello := g.agent.Hello()
	frame, err := wire.Encode(&hello)
	if err == nil {
		_, err = wire.Decode(frame)
	}
	if err != nil {
		g.t.Fatalf("hello: %v", err)
	}
	g.mu.Lock()
	g.dead, g.lose, g.loseNext = false, g.loseNext, ""
	g.n++
	w := &wire.Welcome{Session: g.n, N: g.n, Time: g.now().UnixMilli(), Credit: g.credit}
	claim := &queue.Claim{Generation: hello.Generation, Position: hello.Position}
	for _, id := range g.order {
		j := g.jobs[id]
		var in *queue.InHand
		for _, x := range hello.Executions {
			if x.Execution == id {
				in = &queue.InHand{Execution: queue.ExecutionID(id), Token: x.Token, Seq: x.Seq}
			}
		}
		if ack, tell := j.Hello(claim, in, g.now()); tell {
			w.Executions = append(w.Executions, wire.Resume{Execution: id, Stored: ack.Stored, Verdict: wire.Verdict(ack.Verdict), Reason: ack.Reason})
		}
	}
	g.mu.Unlock()
	g.agent.Deliver(w)
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.pump.Go(func() { g.run(ctx) })
	g.deliver()
}

// now is the gateway's time.
func (g *gate) now() time.Time { return time.Now().Add(g.ahead) }

// onDisk gives what the journal has of an execution on the disk for certain: what a power failure leaves.
func (g *gate) onDisk(id string) Entry {
	j := g.agent.journal
	j.mu.Lock()
	synced := j.synced
	j.mu.Unlock()
	b, err := os.ReadFile(j.path)
	if err != nil || int64(len(b)) < synced {
		g.t.Errorf("the journal has %d bytes, %d were synced; %v", len(b), synced, err)
		return Entry{}
	}
	c, err := parseJournal(b[:synced])
	if err != nil {
		g.t.Error(err)
	}
	return c.entries[id]
}

// cut ends the session. What is on the way is lost.
func (g *gate) cut() {
	if g.stop != nil {
		g.stop()
		g.pump.Wait()
		g.stop = nil
	}
}

// deliver leases what is queued into free slots, as the store counts them.
func (g *gate) deliver() {
	g.mu.Lock()
	var out []*wire.Job
	used := map[queue.Lane]int{}
	for _, j := range g.jobs {
		if j.State.InFlight() {
			used[j.Lane]++
		}
	}
	for _, id := range g.order {
		j := g.jobs[id]
		if j.State != queue.Queued || used[j.Lane] >= max(g.cfg.Slots[string(j.Lane)], 1) {
			continue
		}
		used[j.Lane]++
		g.tokens++
		g.n++
		j.Lease(fmt.Sprintf("token-%d", g.tokens), g.now())
		out = append(out, g.message(id))
	}
	g.mu.Unlock()
	for _, m := range out {
		g.agent.Deliver(m)
	}
}

func (g *gate) message(id string) *wire.Job {
	j := g.jobs[id]
	return &wire.Job{
		N: g.n, Execution: id, Token: j.Token, DeliverUntil: j.DeliverUntil.UnixMilli(),
		Time: g.now().UnixMilli(), Spec: j.spec,
	}
}

// run is a session's way back: events to the store, acks to the agent.
func (g *gate) run(ctx context.Context) {
	for {
		g.mu.Lock()
		credit := g.credit
		g.mu.Unlock()
		unacked := g.agent.Unacked()
		events, err := g.agent.Pull(ctx, credit-unacked, unacked == 0)
		if err != nil {
			return
		}
		for _, e := range events {
			if a, ok := e.(*wire.Accepted); ok && g.onDisk(a.Execution).Execution == "" {
				g.t.Errorf("%s was sent as accepted before that was on the disk", a.Execution)
			}
		}
		g.mu.Lock()
		if on := g.agent.Unacked(); len(events) > 1 || unacked > 0 {
			g.maxRoom = max(g.maxRoom, on-credit)
		}
		lose := g.lose
		if g.dead || g.hold || lose == "request" {
			g.dead = g.dead || lose == "request"
			g.mu.Unlock()
			continue
		}
		acks := g.recordLocked(events)
		g.dead = lose == "answer"
		g.mu.Unlock()
		if lose == "answer" {
			continue
		}
		for _, a := range acks {
			g.agent.Deliver(a)
		}
		g.deliver()
	}
}

func (g *gate) recordLocked(events []wire.Event) []*wire.Ack {
	var ids []string
	by := map[string][]queue.Event{}
	for _, e := range events {
		frame, err := wire.Encode(e)
		if err == nil {
			_, err = wire.Decode(frame)
		}
		if err != nil {
			g.t.Errorf("the agent sent what no gateway takes: %v", err)
		}
		id, _ := e.Ref()
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		by[id] = append(by[id], eventOf(e))
	}
	g.events = append(g.events, events...)
	var acks []*wire.Ack
	for _, id := range ids {
		j := g.jobs[id]
		ack, appended := j.Record(by[id], g.agent.journal.gen, g.now())
		for _, e := range appended {
			if e.Kind == queue.EventGap {
				j.gaps++
			} else if e.Stream == queue.Stdout {
				j.stdout.Write(e.Data)
			}
		}
		acks = append(acks, &wire.Ack{Execution: id, Stored: ack.Stored, Verdict: wire.Verdict(ack.Verdict), Reason: ack.Reason})
	}
	return acks
}

func eventOf(m wire.Event) queue.Event {
	id, seq := m.Ref()
	e := queue.Event{Execution: queue.ExecutionID(id), Seq: seq}
	switch m := m.(type) {
	case *wire.Accepted:
		e.Kind, e.Token, e.Position = queue.EventAccepted, m.Token, m.Position
	case *wire.Rejected:
		e.Kind, e.Token, e.Reason = queue.EventRejected, m.Token, m.Reason
	case *wire.Started:
		e.Kind = queue.EventStarted
	case *wire.Output:
		e.Kind, e.Data, e.Stream = queue.EventOutput, m.Bytes(), queue.Stdout
		if m.Stream == wire.Stderr {
			e.Stream = queue.Stderr
		}
	case *wire.Gap:
		e.Kind, e.Through, e.Bytes = queue.EventGap, m.Through, m.Bytes
	case *wire.Finished:
		outcome, _ := queue.ParseState(string(m.Outcome))
		e.Kind, e.ExitCode, e.Signal, e.Outcome, e.Reason, e.Dropped = queue.EventFinished, m.ExitCode, m.Signal, outcome, m.Reason, m.Dropped
	}
	return e
}
