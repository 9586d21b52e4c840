package queuetest

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rexgate/rexgate/queue"
)

// modelJobs bounds the jobs of one run, modelRuns the runs unless -rapid.checks
// says how many, so that the suite stays quick.
const (
	modelJobs = 6
	modelRuns = 40
)

// runModel does random things to a store and to the model, and compares after
// each. One store serves all runs; each has hosts of its own.
func runModel(t *testing.T, f Factory) {
	base := newEnv(t, f.Open(t), false)
	runs, run, failed := modelRuns, 0, false
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "rapid.checks" {
			runs = math.MaxInt
		}
	})
	rapid.Check(t, func(r *rapid.T) {
		if run >= runs && !failed { // but rapid repeats what failed
			return
		}
		run++
		before := failed
		failed = true // until it is known to have passed
		e := *base
		e.TB = bubble{TB: t, r: r}
		w := &walk{env: &e, r: r, gateway: fmt.Sprint("gw-", run), model: model{hosts: map[queue.HostID]*modelHost{}}}
		w.clock = w.clock.Tick(e.now())
		for i := range 3 {
			id := queue.HostID(fmt.Sprintf("run-%d-host-%d", run, i))
			e.enroll(id)
			w.hosts[id] = &modelHost{id: id, incarnation: e.host(id).Incarnation, cancels: map[*modelExec]int64{}, newest: map[string]*modelJob{}}
			w.ids = append(w.ids, id)
		}
		for range 3 { // so that runs begin where something can happen
			w.submit(r)
			w.expandJob(w.jobs[len(w.jobs)-1])
			w.claim(r)
		}
		r.Repeat(map[string]func(*rapid.T){
			"submit": w.submit, "expand": w.expand, "claim": w.claim, "claim 2": w.claim, "release": w.release,
			"lease": w.lease, "lease 2": w.lease, "lease 3": w.lease, "accept": w.accept, "accept 2": w.accept,
			"record": w.record, "record 2": w.record, "record 3": w.record, "record 4": w.record,
			"cancel": w.cancel, "minute": w.minute, "outage": w.outage, "reenroll": w.reenroll,
			"paint": w.paint, "paint 2": w.paint, "purge": w.purge, "live": w.live, "live 2": w.live,
			"": w.compare,
		})
		w.compareJobs(true)
		failed = before || r.Failed()
	})
	base.check()
	if err := base.in.Store.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// walk is one run: the store (env), the model, and the draws.
type walk struct {
	*env
	model
	r       *rapid.T
	ids     []queue.HostID
	gateway string
}

func pick[T any](r *rapid.T, what string, of []T) T { return rapid.SampledFrom(of).Draw(r, what) }

func (w *walk) someHost(r *rapid.T) *modelHost { return w.hosts[pick(r, "host", w.ids)] }

func (w *walk) submit(r *rapid.T) {
	if len(w.jobs) == modelJobs {
		r.Skip("enough jobs")
	}
	hosts := rapid.SliceOfNDistinct(rapid.SampledFrom(w.ids), 1, 3, rapid.ID).Draw(r, "hosts")
	n := w.newJob(hosts...)
	s := &n.Job.Spec
	s.Lane = pick(r, "lane", []queue.Lane{queue.LaneDefault, queue.LaneUrgent})
	s.Priority = pick(r, "priority", []int{0, 5})
	s.PickupTimeout = pick(r, "pickup", []time.Duration{modelPickup, queue.DefaultPickupTimeout})
	s.RunTimeout, s.Grace = modelRun, 0
	if rapid.Bool().Draw(r, "delayed") {
		s.NotBefore = w.now().Add(modelDelay)
	}
	s.Offline = pick(r, "offline", []queue.OfflinePolicy{queue.OfflineWait, queue.OfflineWait, queue.OfflineSkip})
	s.SupersedeKey = pick(r, "key", []string{"", "k", "k"})
	s.Recheck = pick(r, "recheck", []string{"", "", "color=red"})
	n.Job.CreatedBy = w.gateway // keys are of one run
	job, _, err := w.s.Submit(w.ctx, n)
	w.ok(err, "Submit")
	order, err := w.s.Targets(w.ctx, n.Job.ID, 0, 10)
	w.ok(err, "Targets")
	j := &modelJob{id: n.Job.ID, spec: *s, shown: job}
	for _, id := range order {
		h := w.hosts[id]
		j.targets = append(j.targets, queue.Target{Host: id, Incarnation: h.incarnation})
		x := &modelExec{job: j}
		x.Execution = queue.Execution{Job: j.id, Host: id, State: queue.Planned, Lane: s.Lane, Priority: s.Priority, Incarnation: h.incarnation}
		h.execs = append(h.execs, x)
	}
	w.jobs = append(w.jobs, j)
}

func (w *walk) someJob(r *rapid.T) *modelJob {
	if len(w.jobs) == 0 {
		r.Skip("no jobs")
	}
	return pick(r, "job", w.jobs)
}

func (w *walk) exec(j *modelJob, host queue.HostID) *modelExec {
	return w.hosts[host].find(queue.NewExecutionID(j.id, host))
}

func (w *walk) expand(r *rapid.T) { w.expandJob(w.someJob(r)) }

func (w *walk) expandJob(j *modelJob) {
	w.env.expand(j.id)
	now := w.now()
	for _, t := range j.targets {
		w.model.release(w.hosts[t.Host], w.exec(j, t.Host), now)
	}
}

func (w *walk) cancel(r *rapid.T) {
	j := w.someJob(r)
	var hosts []queue.HostID
	if rapid.Bool().Draw(r, "one host") {
		hosts = []queue.HostID{pick(r, "target", j.targets).Host}
	}
	w.env.cancel(j.id, hosts...)
	now := w.now()
	for _, t := range j.targets {
		if hosts == nil || hosts[0] == t.Host {
			w.hosts[t.Host].cancel(w.exec(j, t.Host), now)
		}
	}
}

func (w *walk) claim(r *rapid.T) {
	h := w.someHost(r)
	w.procs++
	c := queue.Claim{
		Host: h.id, Incarnation: h.incarnation, Gateway: w.gateway, Transport: queue.TransportSocket, Nonce: fmt.Sprint("process-", w.procs),
		Generation: pick(r, "generation", []string{"gen-1", "gen-1", "gen-1", "gen-2"}),
		Position:   rapid.Int64Range(0, h.position).Draw(r, "position"),
		Slots:      map[queue.Lane]int{queue.LaneDefault: rapid.IntRange(0, 2).Draw(r, "slots")},
	}
	hands := map[queue.ExecutionID]*queue.InHand{}
	for _, d := range h.known {
		x := h.find(d.Execution.ID())
		if hands[x.ID()] == nil && rapid.Bool().Draw(r, "in hand") {
			in := holding(d, x.Stored+rapid.Int64Range(0, 2).Draw(r, "ahead"))
			hands[x.ID()] = &in
			c.InHand = append(c.InHand, in)
		}
	}
	if h.session != 0 && h.generation != c.Generation && w.model.alive > 0 { // or they are two machines
		w.ok(w.s.Release(w.ctx, h.id, h.session), "Release")
		h.end(w.now())
	}
	got, err := w.s.Claim(w.ctx, c)
	w.ok(err, "Claim")
	if got.Session <= h.session || got.N < h.n {
		w.Errorf("session %d after %d, N %d after %d", got.Session, h.session, got.N, h.n)
	}
	now := w.now()
	var want, gotText []string
	lost := 0
	for _, x := range h.execs {
		from := x.State
		ack, tell := x.Held.Hello(&c, hands[x.ID()], now)
		if tell {
			want = append(want, string(ack.Execution)+" "+ackText(ack))
		}
		if x.State == queue.Lost && from != queue.Lost {
			lost++
		}
		if x.State == queue.Leased {
			x.deadline = w.clock.At(now) + queue.DefaultLeaseTTL
		}
	}
	for _, v := range got.Verdicts {
		gotText = append(gotText, string(v.Execution)+" "+ackText(v))
	}
	slices.Sort(want)
	slices.Sort(gotText)
	same(w.env, "verdicts", gotText, want)
	same(w.env, "lost", got.Lost, lost)
	h.session, h.generation, h.slots, h.settled, h.n = got.Session, c.Generation, c.Slots, got.N, got.N
	clear(h.cancels)
}

func (w *walk) release(r *rapid.T) {
	h := w.someHost(r)
	w.ok(w.s.Release(w.ctx, h.id, h.session), "Release")
	h.end(w.now())
}

func (w *walk) reenroll(r *rapid.T) {
	if rapid.IntRange(0, 2).Draw(r, "really") != 0 {
		r.Skip("seldom")
	}
	h := w.someHost(r)
	h.incarnation = w.env.reenroll(h.id).Incarnation
	now := w.now()
	for _, x := range h.execs {
		if x.State != queue.Planned { // those are seen to by Expand
			x.Void(now)
		}
	}
	h.session, h.color = 0, ""
	clear(h.cancels)
}

func (w *walk) minute(*rapid.T) { w.step(queue.MaxTick) }

// outage is an hour that nothing sweeps, and then a step of service time as in
// a minute.
func (w *walk) outage(*rapid.T) {
	w.step(time.Hour - modelStep + queue.MaxTick)
}

// step moves service time by modelStep, the clock by more if first is more than
// a tick.
func (w *walk) step(first time.Duration) {
	for i := range modelStep / queue.MaxTick {
		if i == 0 {
			w.advance(first)
		} else {
			w.advance(queue.MaxTick)
		}
		w.sweep()
		w.tick(w.now())
	}
}

// compare holds what the store has to the model: all states, and the rest of
// jobs that have changed in the model.
func (w *walk) compare(*rapid.T) { w.compareJobs(false) }

func (w *walk) compareJobs(all bool) {
	for _, j := range w.jobs {
		var states strings.Builder
		counters := queue.Counters{}
		var want []string
		for _, t := range j.targets {
			x := w.exec(j, t.Host)
			states.WriteByte(byte(x.State))
			counters[x.State]++
			want = append(want, detail(x.Execution))
		}
		same(w.env, "states", string(w.states(j.id)), states.String())
		if slices.Equal(want, j.compared) && !all {
			continue
		}
		j.compared = want
		same(w.env, "counters", nonZero(w.counters(j.id).Counters), counters)
		var got []string
		for _, x := range w.executions(queue.ExecutionQuery{Job: j.id}) {
			got = append(got, detail(x))
		}
		same(w.env, "executions", got, want)
	}
}

func detail(x queue.Execution) string {
	late := queue.State('-')
	if x.Late != nil {
		late = x.Late.Outcome
	}
	return words(x.Host, x.State, x.Stored, x.Output, x.Generation, x.Position, x.Deliveries, x.CancelledAt.IsZero(), late, x.Result.Outcome, x.Result.ExitCode)
}
