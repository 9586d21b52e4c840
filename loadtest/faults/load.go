package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// order is a job that the suite submits, and what it knows of it.
type order struct {
	Serial   int      `json:"serial"`
	Hosts    []string `json:"hosts"`
	Plan     Plan     `json:"plan"`
	Limit    int64    `json:"limit,omitempty"`  // of output
	Pickup   bool     `json:"pickup,omitempty"` // it expires soon
	Lane     string   `json:"lane,omitempty"`
	Key      string   `json:"key,omitempty"`      // it replaces older jobs with the same key
	Skip     bool     `json:"skip,omitempty"`     // it skips hosts that are offline
	Selector bool     `json:"selector,omitempty"` // its hosts are those that match selector, and are checked again; Hosts is known once it is stored
	Cancel   int      `json:"cancel"`             // after so many of its executions have ended; -1 = not
	Partial  bool     `json:"partial"`            // the cancel is for the first host only

	// What came of it.
	ID        string    `json:"id,omitempty"`  // once the submit was answered
	Sent      time.Time `json:"sent,omitzero"` // first
	At        time.Time `json:"at,omitzero"`   // when it was answered
	Cancelled time.Time `json:"cancelled,omitzero"`
	states    []byte    // last seen
	over      bool      // all have ended
	counted   int       // how many of its executions were seen to have ended, at most
	cancelled bool      // the cancel is on its way
}

func (o *order) name() string { return fmt.Sprintf("faults %d", o.Serial) }

func (o *order) done() (n int) {
	for _, s := range o.states {
		if queue.State(s).Terminal() {
			n++
		}
	}
	return n
}

// load keeps executions under way, and keeps the ledger of them.
type load struct {
	w    *world
	seed uint64
	rand *rand.Rand
	note func(violation)
	wg   sync.WaitGroup

	mu      sync.Mutex // guards the following
	orders  []*order
	drawn   int             // by next
	ended   int             // executions
	under   int             // executions of orders that aren't over
	moved   time.Time       // when something ended
	news    chan struct{}   // closed and replaced when ended or under change
	epoch   int             // raised by each failover: what was seen before proves nothing
	windows []window        // of failovers
	single  map[string]bool // executions that a fault cancelled, perhaps before their job's submit was answered
	meddled meddling
}

// window is the time whose acknowledged writes a failover lost.
type window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func newLoad(w *world, seed uint64, note func(violation)) *load {
	return &load{w: w, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), note: note, news: make(chan struct{}), moved: time.Now(), single: map[string]bool{}, meddled: meddling{labels: map[string][]relabel{}}}
}

// next draws the next job.
func (l *load) next() *order {
	r := l.rand
	light, reals := l.w.hosts()
	l.drawn++
	o := &order{Serial: len(l.orders) + 1, Cancel: -1}
	pool := light
	if len(reals) > 0 && l.drawn%6 == 0 {
		pool = reals
	}
	n := len(pool)
	if r.IntN(3) > 0 {
		n = 1 + r.IntN(len(pool))
	}
	for _, i := range r.Perm(len(pool))[:n] {
		o.Hosts = append(o.Hosts, pool[i])
	}
	switch k := r.IntN(20); {
	case k < 10: // short
		o.Plan = Plan{Lines: 1 + r.IntN(8), Pad: r.IntN(40), Every: 4, Pause: r.IntN(10)}
	case k < 15: // it takes a while, and prints on the way
		o.Plan = Plan{Lines: 10 + r.IntN(30), Pad: r.IntN(60), Every: 5, Pause: 10 + r.IntN(60)}
	case k < 17: // much output
		o.Plan = Plan{Lines: 200 + r.IntN(600), Pad: 60, Every: 100, Pause: r.IntN(20)}
	case k < 18: // beyond its limit
		o.Plan, o.Limit = Plan{Lines: 60, Pad: 50, Every: 20, Pause: 5}, 1500
	default: // it doesn't end by itself
		o.Plan, o.Cancel = Plan{Lines: 8, Pad: 10, Every: 4, Pause: 5, Endless: true}, 0
		if r.IntN(2) == 0 {
			o.Cancel = -1
			o.Hosts = o.Hosts[:1+len(o.Hosts)/4]
		}
	}
	if r.IntN(4) == 0 {
		o.Plan.Exit = 1 + r.IntN(50)
	}
	if r.IntN(8) == 0 {
		o.Cancel = r.IntN(1 + len(o.Hosts)/2)
		o.Partial = r.IntN(2) == 0
	}
	if r.IntN(12) == 0 {
		o.Pickup = true
	}
	if r.IntN(6) == 0 {
		o.Lane = "urgent"
	}
	if o.Plan.Endless && o.Partial {
		o.Partial = false
	}
	switch k := r.IntN(24); {
	case k < 4:
		o.Key = fmt.Sprintf("key %d", k)
	case k < 7:
		o.Skip = true
	case k < 8:
		o.Selector, o.Partial = true, false
	}
	return o
}

func (o *order) request(trace string) api.JobRequest {
	q := api.JobRequest{
		Name: o.name(), Script: o.Plan.Script(), Hosts: o.Hosts, Env: map[string]string{TraceVar: trace}, Lane: o.Lane,
		RunTimeout: api.Duration(time.Minute), Grace: api.Duration(time.Second), OutputLimit: o.Limit,
	}
	q.SupersedeKey = o.Key
	if o.Skip {
		q.Offline = string(queue.OfflineSkip)
	}
	if o.Selector {
		q.Hosts, q.Selector, q.Recheck = nil, selector, true
	}
	if o.Plan.Endless {
		q.RunTimeout = api.Duration(2 * time.Second)
	}
	if o.Pickup {
		q.PickupTimeout = api.Duration(2 * time.Second)
	}
	return q
}

// submit hands an order in, until it is answered or ctx ends. Its key makes one job of it, however often that takes.
func (l *load) submit(ctx context.Context, o *order) error {
	l.mu.Lock()
	o.Sent = time.Now()
	l.mu.Unlock()
	for try := 0; ; try++ {
		g := l.w.gateways[(o.Serial+try)%len(l.w.gateways)]
		job, err := g.op.SubmitWithKey(ctx, "key "+o.name(), o.request(l.w.trace))
		if err == nil && o.Selector {
			err = l.targets(ctx, g, o, job.ID)
		}
		if err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			o.ID, o.At = job.ID, time.Now()
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if operator.IsProblem(err, "invalid") || operator.IsProblem(err, "conflict") {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// targets asks which hosts a job has got.
func (l *load) targets(ctx context.Context, g *gate, o *order, job string) error {
	p, err := g.op.TargetPage(ctx, job, 0, 1000)
	if operator.IsProblem(err, "not_found") {
		return nil // a failover: it is found out that it isn't there
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.under += len(p.Hosts) - len(o.Hosts)
	o.Hosts = p.Hosts
	return nil
}

// run submits until ctx ends, several at once.
func (l *load) run(ctx context.Context) {
	const submitters = 3
	var wg sync.WaitGroup
	wg.Go(func() { l.meddle(ctx, l.seed) })
	for range submitters {
		wg.Go(func() {
			for ctx.Err() == nil {
				if o := l.take(ctx); o != nil {
					if l.insist(ctx, o) != nil {
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// take draws the next order when there is room for it.
func (l *load) take(ctx context.Context) *order {
	for {
		l.mu.Lock()
		if l.under < l.w.cfg.Outstanding {
			o := l.next()
			l.addLocked(o)
			l.mu.Unlock()
			return o
		}
		news := l.news
		l.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *load) addLocked(o *order) {
	l.orders = append(l.orders, o)
	l.under += len(o.Hosts)
}

// rushes is how many jobs a rush has, rushHosts for how many hosts if it isn't for some in particular.
const (
	rushes    = 6
	rushHosts = 25
)

// rush submits some short jobs for hosts (nil = some of the light ones) at once, and returns when the first is answered: its executions, or those of the others, are
// planned in the next moment.
func (l *load) rush(ctx context.Context, hosts []string, p Plan) error {
	if hosts == nil {
		hosts, _ = l.w.hosts()
		l.mu.Lock()
		from := len(l.orders) * 7 % len(hosts)
		l.mu.Unlock()
		hosts = slices.Concat(hosts[from:], hosts[:from])[:min(rushHosts, len(hosts))]
	}
	answered := make(chan error, rushes)
	for range rushes {
		l.mu.Lock()
		o := &order{Serial: len(l.orders) + 1, Hosts: hosts, Plan: p, Cancel: -1}
		l.addLocked(o)
		l.mu.Unlock()
		l.wg.Go(func() { answered <- l.insist(ctx, o) })
	}
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return context.Cause(ctx) // they go on till they are answered
	}
}

// unhinted submits one job to hosts that have nothing else to do, while all hints are lost: what is behind the hints must find it.
func (l *load) unhinted(ctx context.Context, tell func(string)) {
	for _, g := range l.w.gateways {
		g.store.rule.Store(int32(hintsLost))
		defer g.store.rule.Store(int32(hintsPass))
	}
	light, reals := l.w.hosts()
	l.mu.Lock()
	o := &order{Serial: len(l.orders) + 1, Hosts: append(light, reals...), Plan: Plan{Lines: 3, Pad: 5}, Cancel: -1}
	l.addLocked(o)
	l.mu.Unlock()
	if l.insist(ctx, o) == nil {
		l.finish(ctx, tell)
	}
}

// insist submits whether or not ctx ends, for a while: what may have been stored is to be known.
func (l *load) insist(ctx context.Context, o *order) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer done()
	err := l.submit(ctx, o)
	if err != nil {
		l.note(violation{"submit", "", fmt.Sprintf("%s: %v", o.name(), err)})
	}
	return err
}

// progress is the number of executions that have ended; news is closed when it has changed.
func (l *load) progress() (ended int, news <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended, l.news
}

// lost says that a failover lost what was acknowledged in a window.
func (l *load) lost(w window) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	l.windows = append(l.windows, w)
	for _, o := range l.orders {
		if !o.over && o.states != nil {
			o.states = nil // it may go back
		}
	}
}
