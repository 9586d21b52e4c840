package faults

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScheduleFollowsFromItsSeed draws two schedules of one seed, and one of another.
func TestScheduleFollowsFromItsSeed(t *testing.T) {
	draw := func(seed uint64) (all []fault) {
		s := newSchedule(seed, []string{"gateway killed", "host restarted", "connection cut"})
		for range 100 {
			all = append(all, s.next())
		}
		return all
	}
	one := draw(1)
	if !slices.Equal(one, draw(1)) || slices.Equal(one, draw(2)) {
		t.Error("the seed doesn't make the schedule")
	}
	cells := map[cell]int{}
	for _, f := range one[:18] {
		cells[cell{f.Kind, f.Column}]++
	}
	if len(cells) != 18 {
		t.Errorf("the first round has %d of 18 cells", len(cells))
	}
}

// TestScriptPrintsItsPlan runs a plan by /bin/sh.
func TestScriptPrintsItsPlan(t *testing.T) {
	for _, p := range []Plan{{Lines: 1, Exit: 3}, {Lines: 23, Pad: 30, Every: 5, Pause: 1}, {Lines: 400, Pad: 60}} {
		back, err := ParsePlan([]byte(p.Script()))
		if err != nil || back != p {
			t.Errorf("%+v is read as %+v, %v", p, back, err)
		}
		trace := filepath.Join(t.TempDir(), "trace")
		cmd := exec.Command("/bin/sh", "-c", p.Script())
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "REXGATE_EXECUTION=x.h", TraceVar + "=" + trace}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Run() //nolint:errcheck // its status is compared
		wantOut, wantErr := p.Output("x.h")
		if cmd.ProcessState.ExitCode() != p.Exit || !bytes.Equal(stdout.Bytes(), wantOut) || !bytes.Equal(stderr.Bytes(), wantErr) {
			t.Errorf("%+v: status %d, %q, %q", p, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String())
		}
		ran, err := readTrace(trace)
		if err != nil || len(ran["x.h"].starts) != 1 || len(ran["x.h"].ends) != 1 {
			t.Errorf("%+v: the trace has %+v, %v", p, ran["x.h"], err)
		}
	}
}

// TestExcused tells what a failover may have lost from what it may not.
func TestExcused(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	l := &load{windows: []window{{at(10), at(12)}}}
	for _, c := range []struct {
		what            string
		asked, answered float64
		want            bool
	}{
		{"long before", 5, 6, false},
		{"on its way to the replica", 9, 9.5, true},
		{"meanwhile", 10.5, 11, true},
		{"stored by the old master, answered late", 11.5, 13, true},
		{"all along", 5, 20, true},
		{"after it", 12.5, 13, false},
	} {
		if got := l.excusedLocked(span{at(c.asked), at(c.answered)}); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestRelay cuts, freezes, and loses hints.
func TestRelay(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const hint = "*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$2\r\nh1\r\n"
	go func() { // answers each line: to a subscription with a hint and a mark, to all else with itself
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for sc := bufio.NewScanner(c); sc.Scan(); {
					reply := "+" + sc.Text() + "\r\n"
					if strings.HasPrefix(sc.Text(), "SSUBSCRIBE") {
						reply = hint + reply
					}
					io.WriteString(c, reply)
				}
			}()
		}
	}()
	r, err := newRelay("r", ln.Addr().String(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	dial := func() (net.Conn, func(string) string) {
		c, err := net.Dial("tcp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(c)
		return c, func(line string) string {
			io.WriteString(c, line+"\n")
			got := ""
			for !strings.HasSuffix(got, line+"\r\n") {
				b, err := br.ReadString('\n')
				if err != nil {
					return "cut"
				}
				got += b
			}
			return got
		}
	}
	for rule, times := range map[hintRule]int{hintsPass: 1, hintsLost: 0, hintsTwice: 2, hintsLate: 1} {
		r.rule.Store(int32(rule))
		c, ask := dial()
		if got := ask("hello"); got != "+hello\r\n" {
			t.Errorf("got %q", got)
		}
		if got := ask("SSUBSCRIBE c"); strings.Count(got, "smessage") != times {
			t.Errorf("rule %d: %q", rule, got)
		}
		c.Close()
	}
	c, ask := dial()
	defer c.Close()
	ask("hello")
	r.cut(false)
	if got := ask("after the cut"); got != "cut" {
		t.Errorf("after the cut: %q", got)
	}
	c, ask = dial()
	defer c.Close()
	ask("hello")
	end := r.freeze(upwards)
	answered := make(chan string)
	go func() { answered <- ask("into the void") }()
	_, other := dial()
	if got := other("a new connection"); got != "+a new connection\r\n" {
		t.Errorf("beside a half-open one: %q", got)
	}
	end()
	if got := <-answered; got != "cut" {
		t.Errorf("what went into a half-open connection was answered: %q", got)
	}
}

func startRedis(t *testing.T) *redisNode {
	t.Helper()
	w := &world{cfg: Config{Dir: t.TempDir(), RedisServer: need(t, "redis-server")}, logs: t.TempDir()}
	n, err := newRedisNode(w, "redis")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	if err := n.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRedisAgain has a server start again that is about to end, and leaves alone one that isn't.
func TestRedisAgain(t *testing.T) {
	n := startRedis(t)
	first := n.pid()
	if err := n.again(t.Context()); err != nil || n.pid() != first {
		t.Fatalf("one that lives: pid %d, then %d; %v", first, n.pid(), err)
	}
	if err := n.signal(syscall.SIGKILL); err != nil { // and it isn't known yet that it has ended
		t.Fatal(err)
	}
	if err := n.again(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := redisDo(n.addr, "PING"); err != nil || n.pid() == first {
		t.Errorf("one that was about to end: pid %d, then %d; %v", first, n.pid(), err)
	}
}

// TestDiskHasRoomAgain takes back that a disk is full, and has it lose its power before that is synced.
func TestDiskHasRoomAgain(t *testing.T) {
	dir := directory(t, "disk")
	if !disks(t, dir) {
		t.Skip("no file systems can be made here")
	}
	d, err := newDisk(filepath.Join(dir, "a.img"), filepath.Join(dir, "a"), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer d.drop()
	undo, err := d.fill()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	err = unix.Syncfs(int(f.Fd()))
	f.Close()
	if err := errors.Join(err, undo(), d.fail(), d.again()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "file"), make([]byte, 1<<20), 0o600); err != nil {
		t.Error(err)
	}
}

// TestRedisIsWholeAgain cuts a transaction in its middle: what is left of it isn't there after the next start, nor after the one after that.
func TestRedisIsWholeAgain(t *testing.T) {
	n := startRedis(t)
	do := func(args ...string) string {
		s, err := redisDo(n.addr, args...)
		if err != nil {
			t.Fatal(args, err)
		}
		return s
	}
	do("EVAL", "redis.call('SET', 'a', 1) redis.call('SET', 'b', 1)", "0")
	whole, err := n.written()
	if err != nil {
		t.Fatal(err)
	}
	do("EVAL", "redis.call('SET', 'a', 2) redis.call('SET', 'b', 'two')", "0")
	file, err := n.aof()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	half := whole + int64(bytes.Index(text[whole:], []byte("two")))
	if err := errors.Join(n.lose(half), n.up(t.Context())); err != nil {
		t.Fatal(err)
	}
	do("EVAL", "redis.call('SET', 'c', 1) redis.call('SET', 'd', 1)", "0")
	n.kill()
	if err := n.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := do("MGET", "a", "b", "c", "d"); got != "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n" {
		t.Errorf("%q", got)
	}
}
