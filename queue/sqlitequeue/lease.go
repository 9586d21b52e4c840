package sqlitequeue

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"github.com/rexgate/rexgate/queue"
)

// glance is how many executions of a host Lease reads at first: nearly always
// all that it has.
const glance = 16

// Lease gives what the session holds and, into free slots, new work.
func (s *Store) Lease(ctx context.Context, f queue.Fetch) (got queue.Fetched, err error) {
	err = s.write(ctx, 1, func(t *tx) (err error) {
		got, err = t.lease(&f)
		return err
	})
	if err != nil {
		return queue.Fetched{}, err
	}
	return got, nil
}

func (t *tx) lease(f *queue.Fetch) (got queue.Fetched, err error) {
	p, err := t.peer(f.Host)
	switch {
	case err != nil:
		return got, err
	case p != nil && p.revoked && !p.deleted:
		return got, revokedError(f.Host)
	case p == nil || !p.owner(f.Session):
		return got, queue.Errorf(queue.Superseded, "host %s: session %d doesn't own it", f.Host, f.Session)
	case p.duplicate:
		return got, duplicateError(f.Host)
	}
	lanes, err := t.work(p, f.Max)
	if err != nil {
		return got, err
	}
	got = queue.Fetched{N: p.msgs, Now: t.now}
	for _, l := range lanes {
		for _, r := range l.flying {
			got.InHand++
			if r.State == queue.Leased && r.n > f.After {
				got.Deliveries = append(got.Deliveries, queue.Delivery{N: r.n, Execution: r.Execution, Token: r.Token})
			}
			if r.State != queue.Leased && r.cancelN > f.After {
				got.Deliveries = append(got.Deliveries, queue.Delivery{N: r.cancelN, Cancel: true, Execution: r.Execution})
			}
		}
	}
	slices.SortFunc(got.Deliveries, func(a, b queue.Delivery) int { return cmp.Compare(a.N, b.N) })
	if len(got.Deliveries) > f.Max {
		got.Deliveries, got.More = got.Deliveries[:max(f.Max, 0)], true
	}
	lapse, err := t.service(f.TTL)
	if err != nil {
		return got, err
	}
	for i := range lanes {
		l := &lanes[i]
		for again := true; again; {
			if again, err = t.fill(p, l, f.Max, lapse, &got); err != nil {
				return got, err
			}
			if again = again && l.partly; again {
				if l.queued, err = t.due(p, l.name, l.free(p)); err != nil {
					return got, err
				}
			}
		}
	}
	return got, t.fetched(f, p, &got)
}

// fill leases what is queued in a lane into its free slots, up to want deliveries in all. short tells that a slot
// stayed free for what turned out to be withdrawn.
func (t *tx) fill(p *peer, l *laneWork, want int, lapse int64, got *queue.Fetched) (short bool, err error) {
	for _, r := range l.queued {
		if !r.Deliverable(t.now) { // past DeliverUntil
			r.Expire(t.now)
			if err := t.save(r); err != nil {
				return false, err
			}
			continue
		}
		if l.free(p) <= 0 {
			return false, nil
		}
		if len(got.Deliveries) >= want {
			got.More = true
			return false, nil
		}
		if r.job.spec.Recheck != "" {
			gone, err := t.unselected(p, r)
			if err != nil {
				return false, err
			}
			if gone {
				short = true
				continue
			}
		}
		l.leased++
		got.N++
		r.Held.Lease(newToken(), t.now)
		r.n, r.lapse = got.N, lapse
		if err := t.saveLease(r); err != nil {
			return false, err
		}
		got.InHand++
		got.Deliveries = append(got.Deliveries, queue.Delivery{N: r.n, Execution: r.Execution, Token: r.Token})
	}
	return short, nil
}

// fetched keeps what a Lease says of the session: numbers given, the gateway
// that asked, when the next poll is due.
func (t *tx) fetched(f *queue.Fetch, p *peer, got *queue.Fetched) error {
	given := got.N
	if len(got.Deliveries) > 0 && got.More {
		given = max(p.given, got.Deliveries[len(got.Deliveries)-1].N)
	}
	due, served := p.due, p.dueServed
	if p.transport == queue.TransportPoll && f.Due > 0 {
		var err error
		if due, served, err = t.dueIn(f.Due); err != nil {
			return err
		}
	}
	gateway := p.gateway
	if f.Gateway != "" {
		gateway = f.Gateway
	}
	moved := gateway != p.gateway
	if !moved && got.N == p.msgs && given == p.given && due == p.due && served == p.dueServed {
		return nil
	}
	p.msgs, p.given, p.due, p.dueServed, p.gateway = got.N, given, due, served, gateway
	if moved {
		_, err := t.exec(`UPDATE session SET n = ?, given = ?, due_at = ?, due_service = ?, gateway = ? WHERE host = ?`, got.N, given, due, served, gateway, p.n)
		return err
	}
	_, err := t.exec(`UPDATE session SET n = ?, given = ?, due_at = ?, due_service = ? WHERE host = ?`, got.N, given, due, served, p.n)
	return err
}

// saveLease is save for the one change that is made most often, with only the
// columns that a lease changes.
func (t *tx) saveLease(r *row) error {
	turn, wake, lapse := r.places(t.now)
	_, err := t.exec(`UPDATE execution SET state = ?, n = ?, token = ?, deliveries = ?, leased_at = ?, turn = ?, wake_at = ?, lapse_at = ? WHERE id = ?`,
		r.State, r.n, r.Token, r.Deliveries, r.LeasedAt, turn, wake, lapse, r.id)
	if err == nil {
		t.changedState(r)
		r.turnWas, r.wakeWas, r.lapseWas = turn, wake, lapse
	}
	return err
}

func newToken() string { return strings.ToLower(rand.Text()) }

// laneWork is what a host has in one lane: all in flight, and of what is due in
// the queue as much as may be needed, in order.
type laneWork struct {
	name   queue.Lane
	flying []*row
	queued []*row
	partly bool // there may be more in the queue
	leased int  // by this call
}

// free is how many slots of the lane are.
func (l *laneWork) free(p *peer) int {
	return queue.SlotsIn(p.slots, l.name) - len(l.flying) - l.leased
}

// work reads what a Lease of up to want deliveries needs, by lane in the order
// of service.
func (t *tx) work(p *peer, want int) ([]laneWork, error) {
	rows, err := t.live(p.n, p.id, glance)
	if err != nil {
		return nil, err
	}
	if len(rows) == glance { // there may be more
		return t.workByLane(p, want)
	}
	var lanes []laneWork
	for _, r := range rows {
		if len(lanes) == 0 || lanes[len(lanes)-1].name != r.Lane {
			lanes = append(lanes, laneWork{name: r.Lane})
		}
		l := &lanes[len(lanes)-1]
		switch {
		case r.State != queue.Queued:
			l.flying = append(l.flying, r)
		case !r.NotBefore.After(t.now):
			l.queued = append(l.queued, r)
		}
	}
	for i := range lanes {
		// One that came due since the last sweep isn't at its place yet.
		slices.SortStableFunc(lanes[i].queued, byTurn)
	}
	slices.SortFunc(lanes, func(a, b laneWork) int { return queue.CompareLanes(a.name, b.name) })
	return lanes, nil
}

func byTurn(a, b *row) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.id, b.id))
}

// workByLane is work for a host with much in its queue.
func (t *tx) workByLane(p *peer, want int) ([]laneWork, error) {
	names, err := t.lanes(p.n)
	if err != nil {
		return nil, err
	}
	lanes := make([]laneWork, 0, len(names))
	for _, name := range names {
		l := laneWork{name: name, partly: true}
		if l.flying, err = t.lane(p, name, turnFlying, turnFlying, maxLive); err != nil {
			return nil, err
		}
		if free := min(queue.SlotsIn(p.slots, name)-len(l.flying), max(want, 0)+1); free > 0 {
			if err := t.wakeLane(p, name); err != nil {
				return nil, err
			}
			if l.queued, err = t.due(p, name, free); err != nil {
				return nil, err
			}
		}
		lanes = append(lanes, l)
	}
	return lanes, nil
}

// due reads the first queued executions of a lane, and ends those past their
// time that stand before them.
func (t *tx) due(p *peer, l queue.Lane, limit int) ([]*row, error) {
	const page = 64
	for {
		rows, err := t.lane(p, l, 0, turnLast, max(limit, page))
		if err != nil {
			return nil, err
		}
		ended := 0
		for _, r := range rows {
			if r.Deliverable(t.now) {
				continue
			}
			r.Expire(t.now)
			if err := t.save(r); err != nil {
				return nil, err
			}
			ended++
		}
		if left := len(rows) - ended; left >= limit || len(rows) < max(limit, page) {
			rows = slices.DeleteFunc(rows, func(r *row) bool { return r.State != queue.Queued })
			return rows[:min(limit, left)], nil
		}
	}
}

// wakeLane gives what came due since the last sweep its place in the lane.
func (t *tx) wakeLane(p *peer, l queue.Lane) error {
	rows, err := t.lane(p, l, turnLast+1, t.now.UnixMilli(), maxStep)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := t.save(r); err != nil {
			return err
		}
	}
	return nil
}

// maxStep bounds what one step of a verb changes, so that others pass.
const maxStep = 500
