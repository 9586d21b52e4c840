package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
	"github.com/rexgate/rexgate/session/wire"
)

var transports = []string{"socket", "sse"}

// onStores runs a test on both stores.
func onStores(t *testing.T, test func(t *testing.T, store queue.Store)) {
	t.Run("sqlite", func(t *testing.T) { test(t, newStore(t)) })
	t.Run("redis", func(t *testing.T) {
		s, err := redisqueue.Open(t.Context(), redisqueue.Options{URL: redistest.Start(t).URL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close the store: %v", err)
			}
		})
		test(t, s)
	})
}

// One job from its submit to its end, watched over both transports on its gateway and on
// another: what they were told in steps is what there is.
func TestWatchAJob(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		other := newBedOn(t, store, b.signer, nil)
		var all []*viewer
		for _, bed := range []*bed{b, other} {
			for _, transport := range transports {
				all = append(all, bed.view(t, transport, b.operator(), "jobs"))
			}
		}
		for _, v := range all {
			if m := v.next(); !m.Snapshot || len(m.Jobs) != 0 || m.Time == 0 {
				t.Fatalf("%+v", m)
			}
		}
		hosts := []string{"web-1", "web-2"}
		one, two := b.enroll("web-1", nil), b.enroll("web-2", nil)
		one.hello()
		job := b.submit(api.JobRequest{Name: "uptime", Script: "uptime\n", Hosts: hosts, Env: map[string]string{"A": "b"}})
		for _, v := range all {
			v.until("the job is there", func() bool { return v.jobs[job.ID].Name == "uptime" && v.jobs[job.ID].Counters["planned"] == 0 })
			if v.jobs[job.ID].Env != nil {
				t.Error("a list of jobs comes with environments")
			}
		}
		var here []*viewer
		for _, bed := range []*bed{b, other} {
			for _, transport := range transports {
				v := bed.view(t, transport, b.operator(), "job:"+job.ID, "execution:"+job.ID+".web-1", "jobs")
				all, here = append(all, v), append(here, v)
			}
		}
		p := one.start()
		p.says(wire.Stdout, "one\n")
		for _, v := range here {
			v.says("one\n")
			v.until("its state has come", func() bool { return v.run.State == "running" && v.job != nil && v.are("r", "q") })
			if v.job.Env["A"] != "b" || v.job.Script != "" {
				t.Errorf("%+v", v.job)
			}
		}
		p.m.post(&wire.Output{Execution: p.job.Execution, Seq: p.next(), At: 1, Stream: wire.Stderr, Data: []byte{0xff, 'x'}}).is(200, "")
		p.loses(10)
		p.says(wire.Stdout, "bye\n")
		p.ends(3, 0)
		for _, v := range here {
			v.says("bye\n")
			v.until("it has failed", func() bool { return v.run.State == "failed" && v.job.Failed == 1 && v.are("f", "q") })
			if string(v.output) != "one\n\xffxbye\n" || len(v.chunks) != 4 || v.chunks[1].Stream != "stderr" || len(v.chunks[1].Base64) != 2 || v.chunks[2].Gap != 10 || v.chunks[2].Stream != "" || v.run.Result.ExitCode != 3 {
				t.Errorf("%q %+v %+v", v.output, v.chunks, v.run)
			}
			if v.count["snapshot"] != 3 {
				t.Errorf("%v", v.count)
			}
		}
		two.hello()
		b.ask("POST", "/v1/jobs/"+job.ID+"/cancel", b.operator(), nil).is(200, "")
		for _, v := range all {
			v.until("the job is over", func() bool { return v.jobs[job.ID].FinishedAt != nil })
		}
		for _, v := range here {
			v.until("the job is over", func() bool { return v.job.FinishedAt != nil && v.are("f", "c") })
			if want := b.job(job.ID); v.job.Counters["failed"] != want.Counters["failed"] || v.job.Done != 2 || v.job.Control != "cancelled" {
				t.Errorf("%+v, want %+v", v.job, want)
			}
		}
	})
}

// Whoever is cut off in the middle, and comes back to any gateway with what it has, gets
// every byte and gap once.
func TestWatchResumes(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		other := newBedOn(t, store, b.signer, nil)
		beds := []*bed{b, other}
		job, p := b.running("web-1")
		topics := []string{"execution:" + job.ID + ".web-1", "job:" + job.ID}
		var want strings.Builder
		say := func(n int) {
			t.Helper()
			var msgs []wire.Message
			for i := range n {
				text := strings.Repeat(string(rune('a'+want.Len()%26)), 1+want.Len()%997) + "\n"
				want.WriteString(text)
				msgs = append(msgs, &wire.Output{Execution: p.job.Execution, Seq: p.next(), At: 1, Stream: []wire.Stream{wire.Stdout, wire.Stderr}[i%2], Text: text})
				if i%5 == 4 { // at the very place where a reader may stand
					seq := p.next()
					msgs = append(msgs, &wire.Gap{Execution: p.job.Execution, Seq: seq, Through: seq, At: 1, Bytes: 7})
				}
			}
			p.m.post(msgs...).is(200, "")
		}
		say(30)
		written := make(chan struct{})
		go func() { // while they come and go
			defer close(written)
			for range 25 {
				say(11)
			}
			p.ends(0, 0)
		}()
		for i, transport := range transports {
			v := newViewer(t, transport, topics...)
			for round := 0; ; round++ {
				v.open(beds[(round+i)%2], b.operator())
				for range 1 + round%4 {
					v.next()
					if v.run != nil && v.run.State == "succeeded" && int64(len(v.output)) == v.run.Output.Stdout+v.run.Output.Stderr {
						break
					}
				}
				if v.run != nil && v.run.State == "succeeded" && int64(len(v.output)) == v.run.Output.Stdout+v.run.Output.Stderr {
					break
				}
				v.cut()
			}
			<-written
			v.until("all has come", func() bool { return len(v.output) == want.Len() && v.job != nil && v.job.FinishedAt != nil })
			if string(v.output) != want.String() {
				t.Errorf("%s: the output differs", transport)
			}
			gaps := 0
			for _, c := range v.chunks {
				if c.Gap > 0 {
					gaps++
				}
			}
			if gaps != 6+25*2 {
				t.Errorf("%s: %d gaps", transport, gaps)
			}
			seen := v.count["snapshot"]
			v.cut()
			v.open(b, b.operator())
			v.until("a state has come", func() bool { return v.count["delta"] > 0 })
			t.Logf("%s: %v, %d snapshots of which one is the execution's", transport, v.count, seen)
		}
	})
}

// The token's end ends the watch, in a way that says so.
func TestWatchEndsWithTheToken(t *testing.T) {
	b := newBed(t)
	for _, transport := range transports {
		token, _, err := b.signer.SignOperator(auth.Operator{Subject: "ann", Scopes: auth.Scopes()}, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		v := b.view(t, transport, token, "jobs")
		v.next()
		if end := v.ended(); end.Code != int(wire.CloseExpired) || end.Retry != 0 || end.Reason == "" {
			t.Errorf("%s: %+v", transport, end)
		}
	}
	until(t, "nobody reads", func() bool { return b.g.views.Reading()["jobs"] == 0 })
}

// A gateway that goes sends its watches away; on another they go on.
func TestWatchDrain(t *testing.T) {
	b := newBed(t)
	other := newBedOn(t, b.store, b.signer, nil)
	job, p := b.running("web-1")
	p.says(wire.Stdout, "one\n")
	var all []*viewer
	for _, transport := range transports {
		v := other.view(t, transport, b.operator(), "execution:"+job.ID+".web-1", "jobs")
		v.says("one\n")
		v.until("the jobs are there", func() bool { return v.jobs != nil })
		all = append(all, v)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- other.stop() }()
	for _, v := range all {
		if end := v.ended(); end.Code != int(wire.CloseDrain) || end.Retry < 1 || end.Retry > 2 {
			t.Errorf("%s: %+v", v.transport, end)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	p.says(wire.Stdout, "two\n")
	for _, v := range all {
		v.cut()
		before := v.count["snapshot"]
		v.open(b, b.operator())
		v.says("two\n")
		v.until("the jobs are there", func() bool { return v.count["snapshot"] > before })
		if string(v.output) != "one\ntwo\n" || v.count["snapshot"] != before+1 { // of the jobs, whose cursor is the other's
			t.Errorf("%s: %q %v", v.transport, v.output, v.count)
		}
	}
	p.ends(0, 0)
}
