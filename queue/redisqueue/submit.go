package redisqueue

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// fullAt is the part of the store's room beyond which jobs aren't taken in any
// more, so that the results of those that are still fit.
const fullAt = 0.8

// Submit stores a job: its script and spec, then its targets partition by
// partition, then the commit record, which alone makes it exist. What a submit that was cut left
// behind is removed by Sweep.
func (s *Store) Submit(ctx context.Context, n queue.NewJob) (j queue.Job, created bool, err error) {
	if err := s.enter(); err != nil {
		return j, false, err
	}
	defer s.leave()
	if err := n.Validate(); err != nil {
		return j, false, err
	}
	sub := submission{s: s, n: n, nonce: rand.Text(), idem: idemField(n.IdempotencyKey)}
	for {
		there, err := sub.begin(ctx)
		if err == nil && there == nil {
			if err = sub.prepare(ctx); err != nil {
				s.abort(ctx, n.Job.ID, sub.nonce)
				return j, false, err
			}
			there, err = sub.commit(ctx)
		}
		switch {
		case err == errAgain:
			sub.reset()
			continue
		case err != nil || there != nil:
			return sub.known(ctx, there, err)
		}
		return sub.job, true, nil
	}
}

// idemField is an idempotency key's field in idem; "" for no key.
func idemField(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// Repeat finds the job that was submitted under an idempotency key.
func (s *Store) Repeat(ctx context.Context, key, digest string) (j queue.Job, found bool, err error) {
	if err := s.enter(); err != nil {
		return j, false, err
	}
	defer s.leave()
	if key == "" {
		return j, false, nil
	}
	v, err := s.run(ctx, s.sc.repeated, []string{s.k.jobs("all"), s.k.jobs("idem")}, idemField(key))
	if err != nil {
		return j, false, err
	}
	r := row(v.([]any))
	if r.str(1) == "none" || r.str(4) == "" {
		return j, false, nil
	}
	sub := submission{s: s, n: queue.NewJob{Digest: digest}}
	j, _, err = sub.known(ctx, sub.existing(r), nil)
	if queue.CodeOf(err) == queue.NotFound {
		return queue.Job{}, false, nil // removed just now
	}
	return j, err == nil, err
}

// errAgain: another call of the same job took over; look what became of it.
var errAgain = errors.New("begin again")

// submitTimeout is how long a submit may take before a repeat of it may take over.
const submitTimeout = 30 * time.Second

type submission struct {
	s      *Store
	n      queue.NewJob
	nonce  string
	idem   string // field of the idempotency key, "" = none
	now    int64
	job    queue.Job
	counts [Partitions]int
	split  [Partitions][]queue.Target
}

func (b *submission) id() string { return string(b.n.Job.ID) }

func (b *submission) reset() {
	b.nonce, b.counts, b.split = rand.Text(), [Partitions]int{}, [Partitions][]queue.Target{}
}

// begin gives the job that is there already, or claims the id. It waits for
// another call that is submitting the same job.
func (b *submission) begin(ctx context.Context) (there *existing, err error) {
	k := b.s.k
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		v, err := b.s.run(ctx, b.s.sc.begin, []string{k.jobs("all"), k.jobs("pending"), k.jobs("idem")},
			b.s.offset(), b.id(), b.idem, b.nonce, submitTimeout.Microseconds())
		if err != nil {
			return nil, err
		}
		r := row(v.([]any))
		switch r.str(1) {
		case "go":
			b.now = r.int(2)
			return nil, nil
		case "busy":
			select {
			case <-ctx.Done():
				return nil, failed("submit", ctx.Err())
			case <-time.After(pause):
			}
		default:
			return b.existing(r), nil
		}
	}
}

// existing is a job that a submit met.
type existing struct {
	id     queue.JobID
	digest string // of the idempotency key's request, "" if met by id
	keyed  bool
	commit string
}

func (b *submission) existing(r row) *existing {
	if r.str(1) == "used" {
		return &existing{id: queue.JobID(r.str(2)), digest: r.str(3), keyed: true, commit: r.str(4)}
	}
	return &existing{id: b.n.Job.ID, commit: r.str(2)}
}

// known answers a submit whose job was there.
func (b *submission) known(ctx context.Context, e *existing, err error) (queue.Job, bool, error) {
	if err != nil {
		return queue.Job{}, false, err
	}
	if e.keyed && e.digest != b.n.Digest {
		return queue.Job{}, false, queue.Errorf(queue.Conflict, "the idempotency key was used for another request, job %s", e.id)
	}
	r, err := unpackRow(e.commit)
	if err != nil {
		return queue.Job{}, false, failed("submit", err)
	}
	info, err := b.s.info(ctx, e.id)
	if err != nil {
		return queue.Job{}, false, err
	}
	j := info.job
	j.Control = controlOf(r.str(rControl))
	return j, r.str(rNonce) == b.nonce, nil // our own commit, whose answer was lost
}

// prepare writes all but the commit record.
func (b *submission) prepare(ctx context.Context) error {
	s, spec := b.s, b.n.Job.Spec
	if err := s.roomy(ctx); err != nil {
		return err
	}
	for _, t := range b.n.Targets {
		p := partition(t.Host)
		b.split[p] = append(b.split[p], t)
		b.counts[p]++
	}
	if err := b.checkTargets(ctx); err != nil {
		return err
	}
	b.job = b.n.Job
	b.job.CreatedAt, b.job.Targets, b.job.Control = moment(b.now), len(b.n.Targets), queue.Active
	b.job.ScriptSize, b.job.ScriptSHA256 = int64(len(b.n.Script)), queue.ScriptDigest(b.n.Script)
	b.job.Spec.NotBefore = moment(micros(spec.NotBefore))
	text, err := json.Marshal(b.job)
	if err != nil {
		return queue.Errorf(queue.Invalid, "job: %w", err)
	}
	b.job = queue.Job{} // as every reader will see it
	if err := json.Unmarshal(text, &b.job); err != nil {
		return queue.Errorf(queue.Invalid, "job: %w", err)
	}
	recheck, err := queue.ParseSelector(spec.Recheck)
	if err != nil {
		return err
	}
	copied, err := encodeCopy(&b.split)
	if err != nil {
		return queue.Errorf(queue.Invalid, "targets: %w", err)
	}
	err = s.pipeline(ctx, "submit", func(p redis.Pipeliner) {
		p.HSet(ctx, s.k.job(b.n.Job.ID), "spec", text, "script", b.n.Script, "targets", copied, "attempt", b.now)
	})
	if err != nil {
		return err
	}
	var parts []int
	for p, n := range b.counts {
		if n > 0 {
			parts = append(parts, p)
		}
	}
	return each(len(parts), s.width, func(i int) error {
		p := parts[i]
		n := b.counts[p]
		_, err := s.run(ctx, s.sc.prepare, []string{s.k.part(p, "d"), s.k.targets(p, b.n.Job.ID)},
			b.id(), b.now, fixedPart(&b.job, recheck, n), movingPart(n, "a", "", 0, 0), encodeTargets(b.split[p]), n)
		return err
	})
}

// checkTargets asks each partition for the targets that aren't enrolled.
func (b *submission) checkTargets(ctx context.Context) error {
	var calls []*call
	for p, targets := range b.split {
		for part := range slices.Chunk(targets, 500) {
			args := make([]any, 0, 2*len(part))
			for _, t := range part {
				args = append(args, string(t.Host), t.Incarnation)
			}
			calls = append(calls, &call{sc: b.s.sc.check, keys: []string{b.s.k.part(p, "own")}, args: args})
		}
	}
	if err := b.s.runAll(ctx, calls); err != nil {
		return err
	}
	bad := make(map[string]bool)
	for _, c := range calls {
		for _, v := range c.val.([]any) {
			bad[v.(string)] = true
		}
	}
	if len(bad) == 0 {
		return nil
	}
	e := &queue.Error{Code: queue.NotFound, Message: fmt.Sprintf("%d targets aren't enrolled hosts at the incarnation they were chosen at", len(bad))}
	for _, t := range b.n.Targets {
		if bad[string(t.Host)] && len(e.Items) < 20 {
			e.Items = append(e.Items, string(t.Host))
		}
	}
	return e
}

// commit writes the commit record, or gives the job that came first.
func (b *submission) commit(ctx context.Context) (*existing, error) {
	k := b.s.k
	var r packer
	r.array(7).str(b.nonce).int(b.now).str(encodeCounts(b.counts[:])).str("a").str("").int(0).str(b.idem)
	keys := []string{k.jobs("all"), k.jobs("pending"), k.jobs("idem"), k.jobs("open"), k.jobs("time"), k.jobs("live")}
	v, err := b.s.run(ctx, b.s.sc.commit, keys, b.id(), b.nonce, r.String(), b.idem, b.n.Digest, timeMember(b.now, b.n.Job.ID), b.now)
	if err != nil {
		return nil, err
	}
	answer := row(v.([]any))
	switch answer.str(1) {
	case "done":
		return nil, nil
	case "gone":
		return nil, errAgain
	}
	if e := b.existing(answer); e.id != b.n.Job.ID {
		b.s.abort(ctx, b.n.Job.ID, b.nonce)
		return e, nil
	}
	return b.existing(answer), nil
}

// abort gives up a submit: Sweep removes what it wrote, soon.
func (s *Store) abort(ctx context.Context, id queue.JobID, nonce string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// If this fails too, the same happens later, by age.
	_, _ = s.run(ctx, s.sc.abort, []string{s.k.jobs("pending")}, string(id), nonce)
}

// timeMember orders jobs by age in the listing.
func timeMember(created int64, id queue.JobID) string {
	return fmt.Sprintf("%016x%s", created, id)
}
