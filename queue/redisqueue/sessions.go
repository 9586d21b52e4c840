package redisqueue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Claim makes a new session the owner of a host.
func (s *Store) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	if err := s.enter(); err != nil {
		return queue.Claimed{}, err
	}
	defer s.leave()
	if err := c.Validate(); err != nil {
		return queue.Claimed{}, err
	}
	facts := []byte{}
	if len(c.Facts) > 0 {
		var err error
		if facts, err = json.Marshal(c.Facts); err != nil {
			return queue.Claimed{}, queue.Errorf(queue.Invalid, "facts: %w", err)
		}
	}
	var own []queue.InHand
	var foreign []queue.Ack
	for _, in := range c.InHand {
		if _, host, err := in.Execution.Split(); err != nil || host != c.Host {
			foreign = append(foreign, queue.Ack{Execution: in.Execution, Verdict: queue.VerdictForget, Reason: queue.ReasonUnknown})
			continue
		}
		own = append(own, in)
	}
	p := partition(c.Host)
	r, err := s.lanes.do(ctx, &laned{sc: s.sc.claim, p: p, host: c.Host,
		keys: []string{s.k.queue(p, c.Host), s.k.part(p, "ses"), s.k.part(p, "facts"), s.k.part(p, "gw")}, call: packClaim(&c, own, string(facts))})
	if err != nil {
		return queue.Claimed{}, about("host "+string(c.Host), err)
	}
	if r.str(1) == "duplicate" {
		return queue.Claimed{}, queue.Errorf(queue.Duplicate,
			"host %s: two machines claim this identity; nothing is delivered until an operator resolves it", c.Host)
	}
	claimed := queue.Claimed{Session: r.int(2), N: r.int(3), Now: moment(r.int(4)), Lost: int(r.int(5)), Replaced: r.str(6), Verdicts: foreign}
	verdicts := r.row(7)
	for i := 1; i+3 <= len(verdicts); i += 4 {
		claimed.Verdicts = append(claimed.Verdicts, queue.Ack{
			Execution: queue.NewExecutionID(queue.JobID(verdicts.str(i)), c.Host),
			Stored:    verdicts.int(i + 1), Verdict: queue.Verdict(verdicts.str(i + 2)), Reason: verdicts.str(i + 3),
		})
	}
	if err := s.regained(ctx, c.Host, claimed.Verdicts); err != nil {
		return queue.Claimed{}, err
	}
	return claimed, nil
}

func packClaim(c *queue.Claim, inHand []queue.InHand, facts string) string {
	var b packer
	b.array(14).str(string(c.Host)).int(4).int(c.Incarnation).str(c.Gateway).str(string(c.Transport)).int(c.Due.Microseconds()).
		str(c.AgentVersion).str(c.BootID).str(c.Generation).int(c.Position).str(c.Nonce)
	b.dict(len(c.Slots))
	for lane, n := range c.Slots {
		b.str(laneKey(lane)).int(int64(n))
	}
	b.array(len(inHand))
	for _, in := range inHand {
		job, _, _ := in.Execution.Split() // checked by the caller
		b.array(3).str(string(job)).str(in.Token).int(in.Seq)
	}
	b.str(facts)
	return b.String()
}

// Release ends a session, if it is still the owner.
func (s *Store) Release(ctx context.Context, host queue.HostID, session int64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	p := partition(host)
	var b packer
	b.array(3).str(string(host)).int(2).int(session)
	_, err := s.lanes.do(ctx, &laned{sc: s.sc.release, p: p, host: host, keys: []string{s.k.queue(p, host), s.k.part(p, "ses")}, call: b.String()})
	return err
}

// Lease gives what the session holds, then new work.
func (s *Store) Lease(ctx context.Context, f queue.Fetch) (queue.Fetched, error) {
	if err := s.enter(); err != nil {
		return queue.Fetched{}, err
	}
	defer s.leave()
	p := partition(f.Host)
	ttl := f.TTL
	if ttl <= 0 {
		ttl = queue.DefaultLeaseTTL
	}
	seed, from := rand.Text(), ""
	for {
		var b packer
		b.array(10).str(string(f.Host)).int(2).int(f.Session).str(f.Gateway).int(f.After).int(int64(max(f.Max, 0))).
			int(ttl.Microseconds()).int(f.Due.Microseconds()).str(seed).str(from)
		r, err := s.lanes.do(ctx, &laned{sc: s.sc.lease, p: p, host: f.Host, keys: []string{s.k.queue(p, f.Host), s.k.part(p, "hosts")}, call: b.String()})
		if err != nil {
			return queue.Fetched{}, about("host "+string(f.Host), err)
		}
		if r.str(1) == "ok" {
			return s.fetched(ctx, p, f.Host, r)
		}
		from = r.str(2)
		seed = rand.Text()
	}
}

// fetched makes the answer of lease.lua whole, with what the jobs say.
func (s *Store) fetched(ctx context.Context, p int, host queue.HostID, r row) (queue.Fetched, error) {
	f := queue.Fetched{N: r.int(2), More: r.int(3) == 1, InHand: int(r.int(4)), Now: moment(r.int(5))}
	list := r.row(6)
	if len(list) == 0 {
		return f, nil
	}
	ids := make([]queue.JobID, len(list)/4)
	for i := range ids {
		ids[i] = queue.JobID(list.str(4*i + 3))
	}
	infos, err := s.infos(ctx, ids)
	if err != nil {
		return f, err
	}
	for i, info := range infos {
		if info == nil { // its job is being removed, or is to be; the lease lapses
			if err := s.orphaned(ctx, ids[i]); err != nil {
				return f, err
			}
			continue
		}
		record, err := unpackFields(list.str(4*i + 4))
		if err != nil {
			return f, failed("lease", err)
		}
		d := queue.Delivery{N: list.int(4*i + 1), Cancel: list.int(4*i+2) == 1, Execution: info.execution(p, host, record)}
		if !d.Cancel {
			d.Token = record.str(xToken)
		}
		f.Deliveries = append(f.Deliveries, d)
	}
	return f, nil
}

// Ready lists hosts of a gateway that a Lease would give something.
func (s *Store) Ready(ctx context.Context, gateway string, limit int) ([]queue.HostID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.ready(ctx, gateway, limit)
}

// Alive says in every partition that a gateway lives.
func (s *Store) Alive(ctx context.Context, gateway string, ttl time.Duration) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	calls := make([]*call, Partitions)
	for p := range calls {
		calls[p] = &call{sc: s.sc.alive, keys: s.k.with(p, s.k.part(p, "gw")), args: s.args([]any{gateway, ttl.Microseconds()})}
	}
	return s.runAll(ctx, calls)
}
