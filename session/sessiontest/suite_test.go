package sessiontest

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sqlite(t testing.TB) queue.Store {
	s, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{
		Path: filepath.Join(t.TempDir(), "queue.db"), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// redis gives stores on one server that ends with the test.
func redis(t testing.TB) Factory {
	url := redistest.Start(t).URL
	var n atomic.Int64
	return func(t testing.TB) queue.Store {
		s, err := redisqueue.Open(t.Context(), redisqueue.Options{URL: url, Prefix: fmt.Sprintf("t%d:", n.Add(1))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
}

// SQLite serves one gateway only; the two hubs of a test share a process here.

func TestSocket(t *testing.T)          { Run(t, sqlite, socketTransport()) }
func TestPoll(t *testing.T)            { Run(t, sqlite, pollTransport(1)) }
func TestPollAlternating(t *testing.T) { Run(t, sqlite, pollTransport(2)) }
func TestSwitch(t *testing.T)          { testSwitch(t, sqlite) }

func TestSocketOnRedis(t *testing.T)          { Run(t, redis(t), socketTransport()) }
func TestPollAlternatingOnRedis(t *testing.T) { Run(t, redis(t), pollTransport(2)) }
func TestSwitchOnRedis(t *testing.T)          { testSwitch(t, redis(t)) }

func TestCancelSwitch(t *testing.T)        { testCancelSwitch(t, sqlite) }
func TestCancelSwitchOnRedis(t *testing.T) { testCancelSwitch(t, redis(t)) }

// both carries sessions over the transport that is set.
type both struct {
	*servers
	socket socketCarrier
	poll   pollCarrier
}

// newBoth makes a world with both transports, on the socket at first.
func newBoth(t *testing.T, open Factory) (*world, *both) {
	b := &both{}
	w := newWorld(t, open, Transport{Kind: queue.TransportSocket, Start: func(t testing.TB, hubs []*session.Hub) Carrier {
		b.servers = start(t, hubs)
		b.socket, b.poll = socketCarrier{b.servers}, pollCarrier{b.servers}
		return &b.socket
	}})
	return w, b
}

// testCancelSwitch cancels what a host took over one transport, and confirms over the other: told before it changes, or as it
// does.
func testCancelSwitch(t *testing.T, open Factory) {
	w, b := newBoth(t, open)
	h := w.host("h")
	for _, way := range []struct {
		from, to Carrier
		told     bool
	}{{&b.socket, &b.poll, false}, {&b.poll, &b.socket, false}, {&b.socket, &b.poll, true}, {&b.poll, &b.socket, true}} {
		w.car = way.from
		id := w.submit("x", queue.Spec{}, h)
		h.attach()
		j := h.jobOf(id)
		h.accept(j)
		h.link.Send(h.started(j))
		h.stored(j, 2)
		if way.told {
			w.cancel(id)
			h.after = expect[*wire.Cancel](h).N
		}
		h.link.Cut()
		if !way.told {
			w.cancel(id)
		}
		w.car = way.to
		cancelled(h, h.attach(), j, 2)
		w.state(id, h, queue.Cancelled)
		h.link.Cut()
	}
}

// testSwitch changes the transport in the middle of a job, and then
// back, without an event lost or repeated.
func testSwitch(t *testing.T, open Factory) {
	w, b := newBoth(t, open)
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	next := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	want := ""
	seq := int64(2)
	line := func(n int64) wire.Message { return h.out(j, n, "line %d\n", n) }
	send := func(n int) {
		for range n {
			if seq == 2 {
				h.link.Send(h.started(j))
			} else {
				h.link.Send(line(seq))
				want += fmt.Sprintf("line %d\n", seq)
			}
			seq++
		}
	}
	resume := func(wel *wire.Welcome) {
		if wel.Standby || len(wel.Executions) != 1 || wel.Executions[0].Verdict == wire.VerdictForget {
			t.Fatalf("welcome %+v", wel)
		}
		// What was on the way and is stored needn't be sent again; the rest must be.
		for s := wel.Executions[0].Stored + 1; s < seq; s++ {
			h.link.Send(line(s))
		}
		if wel.Executions[0].Stored < seq-1 {
			h.stored(j, seq-1)
		}
	}
	send(20)
	h.stored(j, seq-1)
	for round := range 3 {
		// To the poll: the socket is still there, and is told.
		old := *h
		w.car = &b.poll
		resume(h.attach())
		old.closed(wire.CloseSuperseded)
		send(10)
		h.stored(j, seq-1)

		// And back, by take: the poll goes on until then.
		old = *h
		w.car = &b.socket
		standby := h.hello()
		standby.Standby = true
		h.link = b.socket.Dial(t, h.peer, standby)
		if wel := expect[*wire.Welcome](h); !wel.Standby {
			t.Fatalf("welcome %+v", wel)
		}
		probe := h.link
		h.link = old.link
		send(5)
		h.stored(j, seq-1)
		if round == 1 { // some events are on the way when it is taken
			send(5)
		}
		h.link = probe
		h.link.Send(&wire.Take{Hello: h.hello()})
		resume(expect[*wire.Welcome](h))
		old.closed(wire.CloseSuperseded)
		send(10)
		h.stored(j, seq-1)
	}
	h.link.Send(h.finished(j, seq, wire.Succeeded))
	h.stored(j, seq)
	if got := w.output(id, h, queue.Both); got != want {
		t.Errorf("output is\n%s\nwant\n%s", got, want)
	}
	x := w.execution(id, h)
	if x.State != queue.Succeeded || x.Deliveries != 1 {
		t.Errorf("got %v after %d deliveries", x.State, x.Deliveries)
	}
	h.accept(h.jobOf(next))
}
