package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/live"
	"github.com/rexgate/rexgate/gateway/watch"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// emptyStore has a list of jobs, which is empty, and nothing else.
type emptyStore struct{ err error }

func (s emptyStore) ListJobs(context.Context, string, int) ([]queue.JobStatus, string, error) {
	return nil, "", s.err
}

func (s emptyStore) Job(context.Context, queue.JobID) (queue.JobStatus, error) {
	return queue.JobStatus{}, queue.Errorf(queue.NotFound, "no such job")
}

func (s emptyStore) States(context.Context, queue.JobID) ([]byte, error) {
	return nil, queue.Errorf(queue.NotFound, "no such job")
}

func (s emptyStore) Execution(context.Context, queue.JobID, queue.HostID) (queue.Execution, error) {
	return queue.Execution{}, queue.Errorf(queue.NotFound, "no such execution")
}

func (s emptyStore) Output(context.Context, queue.OutputQuery) ([]queue.Chunk, error) {
	return nil, queue.Errorf(queue.NotFound, "no such execution")
}

func (s emptyStore) Situations(context.Context, queue.JobID, []queue.HostID) ([]queue.Situation, error) {
	return nil, queue.Errorf(queue.NotFound, "no such execution")
}

func (s emptyStore) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// tape is a carrier that keeps what it is given.
type tape struct {
	reader   context.Context
	messages []api.WatchMessage
	at       []time.Duration
	began    time.Time
	fail     error
}

func (c *tape) Send(text []byte, _ string) error {
	var m api.WatchMessage
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	c.messages, c.at = append(c.messages, m), append(c.at, time.Since(c.began).Round(time.Millisecond))
	return c.fail
}

func (c *tape) End(wire.CloseCode, time.Duration, string) {}
func (c *tape) Context() context.Context                  { return c.reader }
func (c *tape) Name() string                              { return "tape" }

// playStream runs a stream of the jobs for a time, and gives what was told and how it ended.
func playStream(t *testing.T, store live.Store, lives time.Duration, change func(s *stream, c *tape, leave func())) (*tape, ending) {
	t.Helper()
	views := live.NewViews(store)
	defer views.Close()
	leave, leaving := context.WithCancel(context.Background())
	defer leaving()
	c := &tape{reader: context.Background(), began: time.Now()}
	s := &stream{carrier: c, expires: time.Now().Add(lives), leave: leave, comeBack: func() time.Duration { return 3 * time.Second }, count: func(string, int) {}}
	defer s.close()
	if err := s.open(views, []live.Topic{{}}, nil); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s, c, leaving)
	}
	return c, s.run()
}

// There is a sign of life every 15 seconds if there is nothing else, and the first one soon.
func TestWatchBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := playStream(t, emptyStore{}, 50*time.Second, nil)
		if end.code != wire.CloseExpired {
			t.Errorf("%+v", end)
		}
		if len(c.messages) != 4 || !c.messages[0].Snapshot || c.at[1] != 15*time.Second || c.at[3] != 45*time.Second || c.messages[1].Topic != "" || c.messages[1].Time == 0 {
			t.Errorf("%+v at %v", c.messages, c.at)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, _ := playStream(t, emptyStore{err: queue.Errorf(queue.Unavailable, "away")}, 20*time.Second, nil)
		if len(c.messages) != 2 || c.at[0] != firstBeat || c.at[1] != firstBeat+15*time.Second || c.messages[0].Topic != "" {
			t.Errorf("while the store is away: %+v at %v", c.messages, c.at)
		}
	})
}

// How a watch ends, and what of several reasons counts.
func TestWatchEndings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *stream, c *tape, leave func())
		want   ending
		label  string
	}{
		"expired":         {nil, ending{code: wire.CloseExpired}, "expired"},
		"expired already": {func(s *stream, _ *tape, _ func()) { s.expires = time.Now().Add(-time.Hour) }, ending{code: wire.CloseExpired}, "expired"},
		"drain":           {func(_ *stream, _ *tape, leave func()) { time.AfterFunc(time.Second, leave) }, ending{code: wire.CloseDrain, retry: 3 * time.Second}, "drain"},
		"slow":            {func(_ *stream, c *tape, _ func()) { c.fail = watch.ErrSlow }, ending{code: wire.CloseSlow}, "slow"},
		"write fails":     {func(_ *stream, c *tape, _ func()) { c.fail = errors.New("broken pipe") }, ending{}, "gone"},
		"reader goes": {func(_ *stream, c *tape, _ func()) {
			ctx, cancel := context.WithCancel(context.Background())
			c.reader = ctx
			time.AfterFunc(time.Second, cancel)
		}, ending{}, "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tape, end := playStream(t, emptyStore{}, time.Minute, c.change)
				if took := time.Since(tape.began); took > time.Second && name != "expired" {
					t.Errorf("after %v", took)
				}
				if end.code != c.want.code || end.retry != c.want.retry || (end.reason == "") != (c.want.code == 0) || end.label() != c.label {
					t.Errorf("%+v, %s", end, end.label())
				}
			})
		})
	}
}

// All come back spread over a time by their number.
func TestWatchesComeBackSpread(t *testing.T) {
	s := &seats{}
	most := func() (d time.Duration) {
		for range 1000 {
			d = max(d, s.comeBack())
		}
		return d
	}
	if d := most(); d > 2*time.Second || d < time.Second {
		t.Errorf("few: within %v", d)
	}
	s.taken = MaxWatches
	if d := most(); d > 20*time.Second || d < 10*time.Second {
		t.Errorf("many: within %v", d)
	}
	s.close()
	if _, err := s.take("ann"); err == nil {
		t.Error("a seat at a gateway that goes")
	}
}
