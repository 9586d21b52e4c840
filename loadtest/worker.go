package loadtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/rexgate/rexgate/client"
)

// noticeEvery is how often a worker tells its counts.
const noticeEvery = 250 * time.Millisecond

// enrollers is how many registrations a worker has under way at once.
const enrollers = 16

// Worker is the part of a fleet that one process carries: it does the orders that come on in, and writes
// notices to out, until in ends; then it lets the hosts go, and removes their state. The process must have called
// runner.Hook first; it ignores SIGPIPE from here on.
func Worker(in io.Reader, out io.Writer) error {
	// A parent that was killed leaves pipes that are broken. The hosts are to be let go all the same.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &worker{notices: make(chan notice)}
	var writing sync.WaitGroup
	var writeErr error
	writing.Go(func() {
		enc := json.NewEncoder(out)
		for n := range w.notices {
			if writeErr != nil {
				continue
			}
			if writeErr = enc.Encode(n); writeErr != nil {
				cancel() // nobody is there to take notices
			}
		}
	})
	orders := make(chan order)
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer cancel() // the parent wants no more of it, or has ended
		defer close(orders)
		readErr = readLines(in, func(line []byte) error {
			var o order
			if err := json.Unmarshal(line, &o); err != nil {
				return fmt.Errorf("an order can't be read: %w", err)
			}
			select {
			case orders <- o:
			case <-ctx.Done():
			}
			return nil
		})
	})
	var telling sync.WaitGroup
	telling.Go(func() { w.tell(ctx) })
	for o := range orders {
		n := notice{Done: o.Do}
		var err error
		if n.Collected, err = w.do(ctx, o); err != nil {
			n.Failed = err.Error()
		}
		if w.fleet != nil {
			n.Counts = w.fleet.counts() // as they are when it is done
		}
		w.notices <- n
	}
	cancel()
	telling.Wait()
	close(w.notices)
	writing.Wait()
	if w.fleet != nil {
		w.fleet.close()
	}
	// Nothing waits for the reader: what ended it may be a parent that doesn't take notices any more.
	reading.Wait()
	return errors.Join(readErr, writeErr)
}

// readLines gives the lines of r one by one.
func readLines(r io.Reader, each func([]byte) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

type worker struct {
	notices chan notice

	mu    sync.Mutex // guards the following
	fleet *fleet
}

// tell gives the counts now and then.
func (w *worker) tell(ctx context.Context) {
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		f := w.fleet
		w.mu.Unlock()
		if f != nil {
			w.notices <- notice{Counts: f.counts()}
		}
	}
}

// do does one order.
func (w *worker) do(ctx context.Context, o order) (*collected, error) {
	if o.Do == doFleet {
		f, err := newFleet(*o.Fleet)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		w.fleet = f
		w.mu.Unlock()
		return nil, nil
	}
	f := w.fleet
	if f == nil {
		return nil, errors.New("there is no fleet yet")
	}
	switch o.Do {
	case doEnroll:
		return nil, f.enroll(ctx, o.Tokens)
	case doConnect:
		return nil, f.connect(ctx, o.Rate)
	case doRest:
		debug.FreeOSMemory()
		return nil, nil
	case doPolls:
		f.polls.reset()
		return nil, nil
	case doProfile:
		return nil, profileSelf(ctx, o.File, o.Seconds)
	case doCollect:
		return f.collect(*o.Collect)
	}
	return nil, fmt.Errorf("there is no order %q", o.Do)
}

// enroll registers the hosts that aren't, several at a time, each over a connection that is kept, with one of
// the tokens each.
func (f *fleet) enroll(ctx context.Context, tokens []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for k := range enrollers {
		wg.Go(func() {
			if err := f.enrollEach(ctx, tokens[k%len(tokens)], k, next); err != nil {
				cancel(err)
			}
		})
	}
	for i := max(f.order.From, f.order.Identity.Enrolled); i < f.order.To; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

func (f *fleet) enrollEach(ctx context.Context, token string, k int, next <-chan int) error {
	ways, err := client.NewWays(f.net.gateways(k), f.net.network(f.order.From))
	if err != nil {
		return err
	}
	defer ways.CloseIdle()
	for i := range next {
		id := f.order.Identity
		if _, err := client.Register(ctx, ways, token, id.Host(i), id.Key(i)); err != nil {
			return err
		}
		f.enrolled.Add(1)
	}
	return nil
}
