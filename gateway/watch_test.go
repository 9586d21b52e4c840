package gateway

import (
	"slices"
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

// Whoever is cut off again and again while output is written, and comes back to any gateway with
// what it has, gets every byte and gap once.
func TestWatchResumes(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		other := newBedOn(t, store, b.signer, nil)
		beds := []*bed{b, other}
		job, p := b.running("web-1")
		w := &writer{p: p}
		w.says(30)
		var vs []*viewer
		for _, transport := range transports {
			vs = append(vs, newViewer(t, transport, "execution:"+job.ID+".web-1", "job:"+job.ID))
		}
		for round := range 16 {
			written := make(chan struct{})
			go func() { // while they come and go
				defer close(written)
				w.says(11)
			}()
			for i, v := range vs {
				v.open(beds[(round+i)%2], b.operator())
				for before := len(v.output); len(v.output) == before; {
					v.next()
				}
				v.cut()
			}
			<-written
		}
		p.ends(0, 0)
		for _, v := range vs {
			v.open(b, b.operator())
			v.until("all has come", func() bool {
				return v.run.State == "succeeded" && len(v.output) == len(w.text) && v.job != nil && v.job.FinishedAt != nil
			})
			gaps := 0
			for _, c := range v.chunks {
				if c.Gap > 0 {
					gaps++
				}
			}
			if string(v.output) != w.text || gaps != w.gaps || v.snapshots["execution"] != 1 {
				t.Errorf("%s: %d bytes, want %d; %d gaps, want %d; snapshots %v", v.transport, len(v.output), len(w.text), gaps, w.gaps, v.snapshots)
			}
		}
	})
}

// writer makes a host write output of all sizes.
type writer struct {
	p    *play
	text string
	gaps int
}

// says writes n pieces, and a gap behind each fifth, where a reader may just stand.
func (w *writer) says(n int) {
	w.p.m.b.t.Helper()
	var msgs []wire.Message
	for i := range n {
		text := strings.Repeat(string(rune('a'+len(w.text)%26)), 1+len(w.text)%997) + "\n"
		w.text += text
		msgs = append(msgs, &wire.Output{Execution: w.p.job.Execution, Seq: w.p.next(), At: 1, Stream: []wire.Stream{wire.Stdout, wire.Stderr}[i%2], Text: text})
		if i%5 == 4 {
			seq := w.p.next()
			w.gaps++
			msgs = append(msgs, &wire.Gap{Execution: w.p.job.Execution, Seq: seq, Through: seq, At: 1, Bytes: 7})
		}
	}
	w.p.m.post(msgs...).is(200, "")
}

// Large output comes in pieces that nobody chokes on, and a cut in its middle costs nothing.
func TestWatchLargeOutput(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		job, p := b.running("web-1")
		w := &writer{p: p}
		for range 14 {
			w.says(100)
		}
		p.ends(0, 0)
		for _, transport := range transports {
			v := newViewer(t, transport, "execution:"+job.ID+".web-1")
			for len(v.output) < len(w.text) {
				v.open(b, b.operator())
				for range 7 {
					if v.next(); len(v.output) == len(w.text) {
						break
					}
				}
				v.cut()
			}
			if string(v.output) != w.text || v.snapshots["execution"] != 1 || slices.Max(v.sizes) > 200<<10 || len(v.sizes) < len(w.text)/(64<<10) {
				t.Errorf("%s: %d bytes in %d messages, the largest of %d; want %d; snapshots %v", transport, len(v.output), len(v.sizes), slices.Max(v.sizes), len(w.text), v.snapshots)
			}
		}
		if n := b.g.views.Reading()["execution"]; n > 1 {
			t.Errorf("%d readers", n)
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
