package session

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// memory is a store of what the tests put in, with a function for each verb that a
// test wants to go another way. The transports' suite uses real stores.
type memory struct {
	mu       sync.Mutex // guards the following
	epochs   map[queue.HostID]int64
	stored   map[queue.ExecutionID]int64
	waiting  map[queue.HostID][]queue.Delivery
	ready    []queue.HostID
	released []queue.HostID
	calls    map[string]int
	hint     func(queue.Hint)

	onRecord    func(queue.HostEvents) error
	onLease     func(queue.Fetch) error
	onClaim     func(queue.Claim) error
	onRelease   func(queue.HostID) error
	onSubscribe func() error
	onJob       func() error
}

func newMemory() *memory {
	return &memory{
		epochs: map[queue.HostID]int64{}, stored: map[queue.ExecutionID]int64{},
		waiting: map[queue.HostID][]queue.Delivery{}, calls: map[string]int{},
	}
}

// called counts a call, and runs the test's function outside of the lock.
func called[A any](m *memory, name string, f func(A) error, arg A) error {
	m.mu.Lock()
	m.calls[name]++
	m.mu.Unlock()
	if f != nil {
		return f(arg)
	}
	return nil
}

func (m *memory) count(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[name]
}

func (m *memory) Claim(_ context.Context, c queue.Claim) (queue.Claimed, error) {
	if err := called(m, "claim", m.onClaim, c); err != nil {
		return queue.Claimed{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epochs[c.Host]++
	return queue.Claimed{Session: m.epochs[c.Host], Now: time.Now()}, nil
}

func (m *memory) Release(_ context.Context, h queue.HostID, _ int64) error {
	if err := called(m, "release", m.onRelease, h); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.released = append(m.released, h)
	return nil
}

func (m *memory) Lease(_ context.Context, f queue.Fetch) (queue.Fetched, error) {
	if err := called(m, "lease", m.onLease, f); err != nil {
		return queue.Fetched{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.Session != m.epochs[f.Host] {
		return queue.Fetched{}, queue.Errorf(queue.Superseded, "session %d is over", f.Session)
	}
	out := queue.Fetched{Now: time.Now()}
	for _, d := range m.waiting[f.Host] {
		if d.N > f.After && len(out.Deliveries) < f.Max {
			out.Deliveries = append(out.Deliveries, d)
		}
	}
	return out, nil
}

func (m *memory) Record(_ context.Context, h queue.HostEvents) ([]queue.Ack, error) {
	if err := called(m, "record", m.onRecord, h); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var acks []queue.Ack
	for _, e := range h.Events {
		if m.stored[e.Execution] == e.Seq-1 {
			m.stored[e.Execution] = e.Seq
		}
		i := slices.IndexFunc(acks, func(a queue.Ack) bool { return a.Execution == e.Execution })
		if i < 0 {
			i, acks = len(acks), append(acks, queue.Ack{Execution: e.Execution})
		}
		acks[i].Stored = m.stored[e.Execution]
	}
	return acks, nil
}

func (m *memory) Subscribe(ctx context.Context, _ string, fn func(queue.Hint)) error {
	if err := called(m, "subscribe", func(int) error {
		if m.onSubscribe != nil {
			return m.onSubscribe()
		}
		return nil
	}, 0); err != nil {
		return err
	}
	m.mu.Lock()
	m.hint = fn
	m.mu.Unlock()
	fn(queue.Hint{})
	<-ctx.Done()
	return ctx.Err()
}

func (m *memory) Ready(context.Context, string, int) ([]queue.HostID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["ready"]++
	return slices.Clone(m.ready), nil
}

func (m *memory) Alive(context.Context, string, time.Duration) error {
	return called(m, "alive", nil, 0)
}

func (m *memory) Job(_ context.Context, id queue.JobID) (queue.JobStatus, error) {
	if err := called(m, "job", func(int) error {
		if m.onJob != nil {
			return m.onJob()
		}
		return nil
	}, 0); err != nil {
		return queue.JobStatus{}, err
	}
	return queue.JobStatus{Job: queue.Job{ID: id, ScriptSize: 1, Spec: queue.Spec{}.WithDefaults()}}, nil
}

func (m *memory) Script(context.Context, queue.JobID) ([]byte, error) { return []byte("x"), nil }

func (m *memory) Execution(_ context.Context, job queue.JobID, host queue.HostID) (queue.Execution, error) {
	return queue.Execution{Job: job, Host: host, State: queue.Leased}, nil
}

func (m *memory) Host(_ context.Context, id queue.HostID) (queue.Host, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["host"]++
	return queue.Host{ID: id, Presence: queue.Presence{Session: m.epochs[id], Generation: "g"}}, nil
}

// give makes a job wait for a host, and gives its number.
func (m *memory) give(h queue.HostID) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := int64(len(m.waiting[h]) + 1)
	m.waiting[h] = append(m.waiting[h], queue.Delivery{N: n, Token: "t", Execution: queue.Execution{Job: testJob, Host: h}})
	return n
}

const testJob queue.JobID = "01234567890123456789abcdef"

// pipe is a Conn that keeps what is written.
type pipe struct {
	mu     sync.Mutex // guards the following
	msgs   []wire.Message
	frames int
	code   wire.CloseCode
	reason string
	closed chan struct{}
	block  chan struct{} // if not nil, writes wait for it
	s      *Session
}

func (p *pipe) Write(frame []byte) error {
	if p.block != nil {
		select {
		case <-p.block:
		case <-p.closed:
			return ErrSlow
		}
	}
	msgs, err := wire.Decode(frame)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.msgs = append(p.msgs, msgs...)
	p.frames++
	return nil
}

func (p *pipe) Close(code wire.CloseCode, reason string) {
	p.mu.Lock()
	first := p.code == 0
	if first {
		p.code, p.reason = code, reason
		close(p.closed)
	}
	p.mu.Unlock()
	if first {
		p.s.Detach() // as the reader does when the connection ends
	}
}

// take gives what was written, and forgets it.
func (p *pipe) take() []wire.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	msgs := p.msgs
	p.msgs = nil
	return msgs
}

func (p *pipe) ended() (wire.CloseCode, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.code, p.reason
}

// send gives messages to the session as one frame.
func (p *pipe) send(t *testing.T, msgs ...wire.Message) bool {
	t.Helper()
	frame, err := wire.Encode(msgs...)
	if err != nil {
		t.Fatal(err)
	}
	return p.s.Receive(frame)
}

// bubble runs a test on a running hub in a bubble of synctest, and stops the hub.
func bubble(t *testing.T, cfg Config, test func(t *testing.T, m *memory, h *Hub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		cfg.Gateway = "gw"
		h := NewHub(m, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		synctest.Wait()
		test(t, m, h)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run gave %v", err)
		}
		if st := h.Stats(); st.Sessions != 0 || st.Parked != 0 || st.Waiting != 0 || st.CreditFree != h.cfg.CreditPool {
			t.Errorf("after Run: %+v", st)
		}
	})
}

// attach attaches a host without hello.
func attach(t *testing.T, h *Hub, id queue.HostID) *pipe {
	t.Helper()
	p := &pipe{closed: make(chan struct{})}
	s, err := h.Attach(Peer{Host: id, Incarnation: 1}, p)
	if err != nil {
		t.Fatal(err)
	}
	p.s = s
	return p
}

// begun attaches a host, and takes its welcome.
func begun(t *testing.T, h *Hub, id queue.HostID) *pipe {
	t.Helper()
	p := attach(t, h, id)
	p.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
	synctest.Wait()
	msgs := p.take()
	if len(msgs) == 0 || msgs[0].Type() != wire.TypeWelcome {
		t.Fatalf("got %v, want a welcome", msgs)
	}
	return p
}

func exec(h queue.HostID) string { return string(queue.NewExecutionID(testJob, h)) }

func output(h queue.HostID, seq int64, size int) *wire.Output {
	return &wire.Output{Execution: exec(h), Seq: seq, Stream: wire.Stdout, Text: string(make0(size))}
}

func make0(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return b
}
