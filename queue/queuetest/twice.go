package queuetest

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// twiceStore applies every verb that changes something twice, as a client does
// that repeats after a timeout, and fails the test if the second answer isn't
// equivalent. Reads and hints pass through.
type twiceStore struct {
	queue.Store
	t testing.TB
}

func (s *twiceStore) equal(verb string, first, second any) {
	s.t.Helper()
	if !reflect.DeepEqual(first, second) {
		s.t.Errorf("%s applied twice:\n first %+v\nsecond %+v", verb, first, second)
	}
}

func (s *twiceStore) errors(verb string, first, second error) {
	s.t.Helper()
	if queue.CodeOf(first) != queue.CodeOf(second) || (first == nil) != (second == nil) {
		s.t.Errorf("%s applied twice: error %v, then %v", verb, first, second)
	}
}

func (s *twiceStore) Submit(ctx context.Context, n queue.NewJob) (queue.Job, bool, error) {
	j, created, err := s.Store.Submit(ctx, n)
	again, created2, err2 := s.Store.Submit(ctx, n)
	s.errors("Submit", err, err2)
	if created2 {
		s.t.Errorf("Submit of %s applied twice creates twice", n.Job.ID)
	}
	s.equal("Submit", j, again)
	return j, created, err
}

// Expand goes on where it stopped, so that twice is a longer step.
func (s *twiceStore) Expand(ctx context.Context, job queue.JobID, driver string, limit int) (queue.Expansion, error) {
	x, err := s.Store.Expand(ctx, job, driver, limit)
	y, err2 := s.Store.Expand(ctx, job, driver, limit)
	s.errors("Expand", err, err2)
	if x.Done && (y.Released != 0 || !y.Done) {
		s.t.Errorf("Expand after Done: %+v", y)
	}
	y.Released += x.Released
	y.Passed += x.Passed
	return y, err
}

func (s *twiceStore) Cancel(ctx context.Context, job queue.JobID, hosts []queue.HostID, by string) (queue.Cancellation, error) {
	c, err := s.Store.Cancel(ctx, job, hosts, by)
	d, err2 := s.Store.Cancel(ctx, job, hosts, by)
	s.errors("Cancel", err, err2)
	if d.Cancelled != 0 {
		s.t.Errorf("Cancel applied twice ends %d more", d.Cancelled)
	}
	return c, err
}

func (s *twiceStore) Purge(ctx context.Context, host queue.HostID, running bool, by string) (queue.Cancellation, error) {
	c, err := s.Store.Purge(ctx, host, running, by)
	d, err2 := s.Store.Purge(ctx, host, running, by)
	s.errors("Purge", err, err2)
	if d != (queue.Cancellation{}) {
		s.t.Errorf("Purge applied twice does %+v more", d)
	}
	return c, err
}

func (s *twiceStore) Enroll(ctx context.Context, e queue.Enrollment) (queue.Host, error) {
	h, err := s.Store.Enroll(ctx, e)
	again, err2 := s.Store.Enroll(ctx, e)
	s.errors("Enroll", err, err2)
	s.equal("Enroll", h, again)
	return h, err
}

func (s *twiceStore) Label(ctx context.Context, id queue.HostID, p queue.LabelPatch) (queue.Host, error) {
	h, err := s.Store.Label(ctx, id, p)
	again, err2 := s.Store.Label(ctx, id, p)
	s.errors("Label", err, err2)
	s.equal("Label", h, again)
	return h, err
}

func (s *twiceStore) both(verb string, f func() error) error {
	err := f()
	s.errors(verb, err, f())
	return err
}

func (s *twiceStore) Revoke(ctx context.Context, id queue.HostID) error {
	return s.both("Revoke", func() error { return s.Store.Revoke(ctx, id) })
}

func (s *twiceStore) DeleteHost(ctx context.Context, id queue.HostID) error {
	return s.both("DeleteHost", func() error { return s.Store.DeleteHost(ctx, id) })
}

func (s *twiceStore) ResolveDuplicate(ctx context.Context, id queue.HostID) error {
	return s.both("ResolveDuplicate", func() error { return s.Store.ResolveDuplicate(ctx, id) })
}

// Claim makes a session each time; the second finds nothing more to release or
// to lose.
func (s *twiceStore) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	first, err := s.Store.Claim(ctx, c)
	second, err2 := s.Store.Claim(ctx, c)
	s.errors("Claim", err, err2)
	if err != nil {
		return first, err
	}
	if second.Session <= first.Session || second.Lost != 0 || second.Replaced != c.Gateway {
		s.t.Errorf("Claim applied twice: %+v, then %+v", first, second)
	}
	s.equal("Claim", first.Verdicts, second.Verdicts)
	second.Lost, second.Replaced = first.Lost, first.Replaced
	return second, err
}

func (s *twiceStore) Release(ctx context.Context, host queue.HostID, session int64) error {
	return s.both("Release", func() error { return s.Store.Release(ctx, host, session) })
}

// Lease gives the second time what it leased the first.
func (s *twiceStore) Lease(ctx context.Context, f queue.Fetch) (queue.Fetched, error) {
	first, err := s.Store.Lease(ctx, f)
	second, err2 := s.Store.Lease(ctx, f)
	s.errors("Lease", err, err2)
	s.equal("Lease", first.Deliveries, second.Deliveries)
	if err == nil && (first.N != second.N || first.InHand != second.InHand || first.More != second.More) {
		s.t.Errorf("Lease applied twice: %+v, then %+v", first, second)
	}
	return second, err
}

func (s *twiceStore) Record(ctx context.Context, h queue.HostEvents) ([]queue.Ack, error) {
	acks, err := s.Store.Record(ctx, h)
	again, err2 := s.Store.Record(ctx, h)
	s.errors("Record", err, err2)
	s.equal("Record", acks, again)
	return acks, err
}

func (s *twiceStore) Alive(ctx context.Context, gateway string, ttl time.Duration) error {
	return s.both("Alive", func() error { return s.Store.Alive(ctx, gateway, ttl) })
}

func (s *twiceStore) Sweep(ctx context.Context, budget int, r queue.Retention) (queue.Swept, error) {
	a, err := s.Store.Sweep(ctx, budget, r)
	b, err2 := s.Store.Sweep(ctx, budget, r)
	s.errors("Sweep", err, err2)
	return addSwept(a, b), err
}
