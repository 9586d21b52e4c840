package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// crew is the workers of a run.
type crew struct {
	workers []*member
}

// member is one worker, as the parent sees it.
type member struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{} // closed when the process has ended, after all its notices
	err   error         // how it ended; readable after ended
	done  chan notice   // what it has done

	doing  sync.Mutex // held over an order
	mu     sync.Mutex // guards the following
	counts Counts
}

// startCrew starts so many workers: the command that each is.
func startCrew(command []string, n int) (*crew, error) {
	c := &crew{}
	for range n {
		m, err := startMember(command)
		if err != nil {
			c.stop()
			return nil, fmt.Errorf("start a worker: %w", err)
		}
		c.workers = append(c.workers, m)
	}
	return c, nil
}

func startMember(command []string) (*member, error) {
	m := &member{cmd: exec.Command(command[0], command[1:]...), ended: make(chan struct{}), done: make(chan notice, 8)}
	m.cmd.Stderr = os.Stderr
	// A group of its own: an interrupt from the terminal is for the parent, which ends its workers in good order.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(m.ended)
		err := readLines(out, m.notice)
		if err != nil {
			m.cmd.Process.Kill() //nolint:errcheck // it may have ended
		}
		if werr := m.cmd.Wait(); err == nil {
			err = werr
		}
		m.err = err
	}()
	return m, nil
}

func (m *member) notice(line []byte) error {
	var n notice
	if err := json.Unmarshal(line, &n); err != nil {
		return fmt.Errorf("a notice can't be read: %w", err)
	}
	if n.Counts != nil {
		m.mu.Lock()
		m.counts = *n.Counts
		m.mu.Unlock()
	}
	if n.Done != "" {
		select {
		case m.done <- n:
		default: // nobody waits for it
		}
	}
	return nil
}

// do has a worker do an order, after those before it, and blocks until it is done.
func (m *member) do(ctx context.Context, o order) (notice, error) {
	m.doing.Lock()
	defer m.doing.Unlock()
	b, err := json.Marshal(o)
	if err != nil {
		return notice{}, err
	}
	if _, err := m.in.Write(append(b, '\n')); err != nil {
		return notice{}, fmt.Errorf("a worker doesn't take orders: %w", err)
	}
	for {
		select {
		case n := <-m.done:
			if n.Done != o.Do {
				continue // an order that nobody waited for any more
			}
			if n.Failed != "" {
				return n, errors.New(n.Failed)
			}
			return n, nil
		case <-m.ended:
			return notice{}, fmt.Errorf("a worker ended before its time: %w", errOr(m.err, io.ErrUnexpectedEOF))
		case <-ctx.Done():
			return notice{}, context.Cause(ctx)
		}
	}
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// all has all workers do an order of their own at the same time, and gives their notices.
func (c *crew) all(ctx context.Context, each func(i int) order) ([]notice, error) {
	notices := make([]notice, len(c.workers))
	errs := make([]error, len(c.workers))
	var wg sync.WaitGroup
	for i, m := range c.workers {
		wg.Go(func() { notices[i], errs[i] = m.do(ctx, each(i)) })
	}
	wg.Wait()
	return notices, errors.Join(errs...)
}

// counts is how far all are together.
func (c *crew) counts() Counts {
	var sum Counts
	for _, m := range c.workers {
		m.mu.Lock()
		sum.add(m.counts)
		m.mu.Unlock()
	}
	return sum
}

// failed gives why a worker has ended; nil if none has.
func (c *crew) failed() error {
	for _, m := range c.workers {
		select {
		case <-m.ended:
			return fmt.Errorf("a worker ended before its time: %w", errOr(m.err, io.ErrUnexpectedEOF))
		default:
		}
	}
	return nil
}

// pids are the workers' processes.
func (c *crew) pids() []int {
	pids := make([]int, len(c.workers))
	for i, m := range c.workers {
		pids[i] = m.cmd.Process.Pid
	}
	return pids
}

// stopPatience is how long workers may take to disconnect their hosts.
const stopPatience = 15 * time.Second

// stop ends all workers, and returns when they have ended.
func (c *crew) stop() {
	for _, m := range c.workers {
		m.in.Close() //nolint:errcheck // it may have ended
	}
	timer := time.AfterFunc(stopPatience, func() {
		for _, m := range c.workers {
			m.cmd.Process.Kill() //nolint:errcheck // it may have ended
		}
	})
	defer timer.Stop()
	for _, m := range c.workers {
		<-m.ended
	}
}

// parts cuts so many hosts into parts of nearly the same size: the numbers at which they begin, and the end.
func parts(hosts, n int) []int {
	at := make([]int, n+1)
	for i := range at {
		at[i] = hosts * i / n
	}
	return slices.Clip(at)
}
