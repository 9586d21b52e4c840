package sqlitequeue_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// The test binary runs itself as another process that works on a store. What
// it prints has been acknowledged to it before.
const (
	childEnv  = "SQLITEQUEUE_TEST_CHILD" // what the child is to do
	childPath = "SQLITEQUEUE_TEST_PATH"
)

func child() {
	var err error
	switch os.Getenv(childEnv) {
	case "hold":
		err = childHold()
	case "load":
		err = childLoad()
	case "full":
		err = childFull()
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// startChild runs the test binary as a child, and gives its output's lines.
func startChild(t *testing.T, what, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what, childPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

func childOpen(o sqlitequeue.Options) (*sqlitequeue.Store, error) {
	o.Path, o.Log = os.Getenv(childPath), quiet()
	return sqlitequeue.Open(context.Background(), o)
}

// childHold opens the store and keeps it until it is killed.
func childHold() error {
	s, err := childOpen(sqlitequeue.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println("open")
	time.Sleep(time.Hour) // the parent kills it
	return nil
}

const (
	loadHosts = 24
	loadGen   = "generation-1"
)

// childLoad works on jobs with many hosts at once until it is killed.
func childLoad() error {
	ctx := context.Background()
	s, err := childOpen(sqlitequeue.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	var targets []queue.Target
	for i := range loadHosts {
		h, err := s.Enroll(ctx, queue.Enrollment{Host: queue.HostID(fmt.Sprint("host-", i)), PublicKey: make([]byte, 32)})
		if err != nil {
			return err
		}
		targets = append(targets, queue.Target{Host: h.ID, Incarnation: h.Incarnation})
	}
	fmt.Println("ready")
	errs := make(chan error, loadHosts+2)
	go func() {
		for {
			if err := childJob(ctx, s, targets); err != nil {
				errs <- err
			}
		}
	}()
	go func() {
		for {
			if _, err := s.Sweep(ctx, 1000, queue.Retention{}); err != nil {
				errs <- err
			}
		}
	}()
	for i := range targets {
		go func() { errs <- childHost(ctx, s, targets[i].Host) }()
	}
	return <-errs
}

func childJob(ctx context.Context, s *sqlitequeue.Store, targets []queue.Target) error {
	n := queue.NewJob{Job: queue.Job{ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults()}, Script: []byte("true"), Targets: targets}
	if _, _, err := s.Submit(ctx, n); err != nil {
		return err
	}
	fmt.Println("job", n.Job.ID)
	if n.Job.ID[25]%4 == 0 {
		if _, err := s.Cancel(ctx, n.Job.ID, nil, "child"); err != nil {
			return err
		}
		fmt.Println("cancelled", n.Job.ID)
	}
	for {
		x, err := s.Expand(ctx, n.Job.ID, "child", 7)
		if err != nil || x.Done {
			return err
		}
	}
}

// childHost says hello, and runs what it is given, in its own steps.
func childHost(ctx context.Context, s *sqlitequeue.Store, host queue.HostID) error {
	claim := queue.Claim{Host: host, Incarnation: 1, Gateway: "gw", Transport: queue.TransportSocket, Generation: loadGen, Position: 1 << 40, Nonce: fmt.Sprint(os.Getpid())}
	c, err := s.Claim(ctx, claim)
	if err != nil {
		return err
	}
	after := c.N
	record := func(events ...queue.Event) (queue.Ack, error) {
		acks, err := s.Record(ctx, queue.HostEvents{Host: host, Incarnation: 1, Generation: loadGen, Events: events})
		if err != nil {
			return queue.Ack{}, err
		}
		return acks[0], nil
	}
	for {
		f, err := s.Lease(ctx, queue.Fetch{Host: host, Session: c.Session, Gateway: "gw", After: after, Max: 4, TTL: time.Minute})
		if err != nil {
			return err
		}
		for _, d := range f.Deliveries {
			after = d.N
			if d.Cancel {
				continue
			}
			id, now := d.Execution.ID(), time.Now()
			fmt.Println("leased", id)
			k, err := record(queue.Event{Execution: id, Seq: 1, Kind: queue.EventAccepted, At: now, Token: d.Token, Position: d.N})
			if err != nil {
				return err
			}
			if k.Verdict == queue.VerdictForget {
				continue
			}
			for seq := int64(2); seq < 5; seq++ {
				if _, err = record(queue.Event{Execution: id, Seq: seq, Kind: queue.EventOutput, At: now, Stream: queue.Stdout, Data: fmt.Appendf(nil, "%s %d\n", id, seq)}); err != nil {
					return err
				}
				fmt.Println("stored", id, seq)
			}
			if _, err = record(queue.Event{Execution: id, Seq: 5, Kind: queue.EventFinished, At: now, Outcome: queue.Succeeded}); err != nil {
				return err
			}
			fmt.Println("ended", id)
		}
	}
}

// childFull works while its files may not grow, which the kernel tells as an
// I/O error, and goes on once they may.
func childFull() error {
	signal.Ignore(syscall.SIGXFSZ)
	ctx := context.Background()
	s, err := childOpen(sqlitequeue.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	enroll := func(i int) error {
		_, err := s.Enroll(ctx, queue.Enrollment{Host: queue.HostID(fmt.Sprint("host-", i)), PublicKey: make([]byte, 32)})
		return err
	}
	limit := func(bytes uint64) error {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			return err
		}
		l.Cur = min(bytes, l.Max)
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l)
	}
	if err := limit(1 << 20); err != nil {
		return err
	}
	acknowledged := 0
	for err = enroll(0); err == nil; err = enroll(acknowledged) {
		acknowledged++
	}
	if queue.CodeOf(err) != queue.Unavailable || strings.Contains(err.Error(), "\n") {
		return fmt.Errorf("a verb on a full disk: %w (code %q)", err, queue.CodeOf(err))
	}
	// With the write-ahead log folded in there may be some room again: none now.
	if err := limit(0); err != nil {
		return err
	}
	var wg sync.WaitGroup // a whole batch fails
	for i := range 20 {
		wg.Go(func() {
			if err := enroll(1_000_000 + i); queue.CodeOf(err) != queue.Unavailable {
				fmt.Println("error: a verb in a batch on a full disk:", err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Host(ctx, "host-0"); err != nil {
		return fmt.Errorf("a read on a full disk: %w", err)
	}
	if err := limit(1 << 40); err != nil {
		return err
	}
	if err := enroll(acknowledged); err != nil {
		return fmt.Errorf("a verb once there is room again: %w", err)
	}
	hosts := 0
	for after := ""; ; {
		page, next, err := s.ListHosts(ctx, queue.HostQuery{After: after, Limit: 1000})
		if err != nil {
			return err
		}
		if hosts += len(page); next == "" {
			break
		}
		after = next
	}
	fmt.Println("hosts", hosts, "acknowledged", acknowledged+1)
	return nil
}
