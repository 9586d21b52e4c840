package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

// row is one of the truth table: what must be found for it, and what follows. No entry = any.
type row struct {
	name  string
	exit  []file
	state []file
	boot  string // "this", "other", "" = any
	alive string // "yes", "no", "" = any
	fate  fate
}

// table is the one of the package comment, row by row.
var table = []row{
	{"ended", []file{whole}, nil, "", "", hasEnded},
	{"host restarted", []file{absent, damaged}, []file{whole}, "other", "", rebooted},
	{"runs", []file{absent, damaged}, []file{whole}, "this", "yes", runs},
	{"runs, or is about to", []file{absent, damaged}, []file{absent, damaged}, "", "yes", runs},
	{"exit is damaged", []file{damaged}, []file{whole}, "this", "no", unknowable},
	{"exit is damaged, no state", []file{damaged}, []file{absent, damaged}, "", "no", unknowable},
	{"state is damaged", []file{absent}, []file{damaged}, "", "no", unknowable},
	{"nothing was started", []file{absent}, []file{absent}, "", "no", noTrace},
	{"supervisor killed", []file{absent}, []file{whole}, "this", "no", orphaned},
}

func (r row) matches(f *found) bool {
	in := func(list []file, x file) bool {
		for _, y := range list {
			if x == y {
				return true
			}
		}
		return list == nil
	}
	is := func(want, yes string, is bool) bool { return want == "" || (want == yes) == is }
	return in(r.exit, f.exit) && in(r.state, f.state) && is(r.boot, "this", f.thisBoot) && is(r.alive, "yes", f.alive)
}

// TestFates: whatever is found, one row tells what it means, and only one.
func TestFates(t *testing.T) {
	for n := range 3 * 3 * 2 * 2 {
		f := &found{exit: file(n % 3), state: file(n / 3 % 3), thisBoot: n/9%2 == 1, alive: n/18 == 1}
		var fits []string
		for _, r := range table {
			if r.matches(f) {
				fits = append(fits, r.name)
				if got := f.fate(); got != r.fate {
					t.Errorf("%s: %+v is %d, not %d", r.name, f, got, r.fate)
				}
			}
		}
		if len(fits) != 1 {
			t.Errorf("%+v: rows %q", f, fits)
		}
	}
}

// TestTruthTable has each row on a real disk, with real supervisors where one is there.
func TestTruthTable(t *testing.T) {
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	exit := `{"seq":3,"at":1,"outcome":"failed","exit_code":2}`
	this := `{"version":1,"execution":"job.host","boot":"` + boot + `","supervisor":{"pid":4194304,"start":1},"script":{"pid":0,"start":0}}`
	reused := strings.Replace(this, "4194304", strconv.Itoa(os.Getpid()), 1)
	other := strings.Replace(this, boot, "another", 1)
	newer := strings.Replace(this, `"version":1`, `"version":2`, 1)
	const torn, zeros = `{"ver`, "\x00\x00\x00\x00"
	for _, c := range []struct {
		name, exit, state string
		live              string // a supervisor "answers", or is "silent"
		fate              fate
		outcome           wire.Outcome // "" = none
		says              string
	}{
		{"ended, no state", exit, "", "", hasEnded, wire.Failed, ""},
		{"ended, this boot", exit, this, "", hasEnded, wire.Failed, ""},
		{"ended, other boot", exit, other, "", hasEnded, wire.Failed, ""},
		{"ended, damaged state", exit, torn, "", hasEnded, wire.Failed, ""},
		{"ended, about to leave", exit, "", "answers", hasEnded, wire.Failed, ""},
		{"other boot", "", other, "", rebooted, wire.Lost, "restarted"},
		{"other boot, damaged exit", torn, other, "", rebooted, wire.Lost, "restarted"},
		{"answers", "", "own", "answers", runs, "", ""},
		{"answers, no state yet", "", "", "answers", runs, "", ""},
		{"answers, damaged state", "", zeros, "answers", runs, "", ""},
		{"answers, newer state", "", newer, "answers", runs, "", ""},
		{"answers, damaged exit", zeros, "own", "answers", runs, "", ""},
		{"lives, doesn't answer", "", "own", "silent", runs, "", ""},
		{"damaged exit, gone", zeros, this, "", unknowable, wire.Lost, "can't be read"},
		{"impossible exit, gone", "{}", this, "", unknowable, wire.Lost, "can't be read"},
		{"damaged exit, no state", torn, "", "", unknowable, wire.Lost, "can't be read"},
		{"damaged state, gone", "", zeros, "", unknowable, wire.Lost, "can't be read"},
		{"newer state, gone", "", newer, "", unknowable, wire.Lost, "can't be read"},
		{"nothing", "", "", "", noTrace, "", "no trace"},
		{"killed", "", this, "", orphaned, wire.Lost, "supervisor was killed"},
		{"killed, its number reused", "", reused, "", orphaned, wire.Lost, "supervisor was killed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.live != "" {
				r := start(t, spec("echo one; exec sleep 1000"))
				r.shows(Stdout, "one")
				dir = r.dir
				ctl := filepath.Join(dir, ctlName)
				if c.live == "silent" {
					hide(t, ctl)
				}
				if c.state != "own" {
					hide(t, filepath.Join(dir, stateName))
				}
			}
			for name, text := range map[string]string{exitName: c.exit, stateName: c.state} {
				if text == "" || text == "own" {
					continue
				}
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.Remove(path) }) // before what was hidden comes back
			}
			f, err := look(dir)
			if err != nil {
				t.Fatal(err)
			}
			if f.conn != nil {
				f.conn.Close()
			}
			if f.fate() != c.fate {
				t.Errorf("%+v is %d, not %d", f, f.fate(), c.fate)
			}
			p, err := New().Attach(dir)
			if c.fate == noTrace {
				if !errors.Is(err, ErrNoTrace) {
					t.Errorf("%v, %v", p, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if s := p.Status(); s.Ended != (c.outcome != "") || s.Exit.Outcome != c.outcome || !strings.Contains(s.Exit.Reason, c.says) {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// hide moves a file away until the test ends.
func hide(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(path, path+".hidden"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Rename(path+".hidden", path) })
}

// TestNoDescriptors: what can't be looked at is no evidence. A script that runs isn't lost since this process
// has no descriptor left.
func TestNoDescriptors(t *testing.T) {
	r := start(t, spec("echo one; exec sleep 1000"))
	r.shows(Stdout, "one")
	st, err := readState(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	// Also for a process that follows it, and has lost the connection.
	conn, err := dialCtl(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	f := newFollower(r.dir, Status{Last: 1})
	var listening chan bool
	without(t, func(some func(n int)) {
		listening = make(chan bool)
		go func() { listening <- f.listen(conn, note{}) }()
		tried := 0
		for n := range 12 { // each of the steps of a look may be the one that fails
			some(n)
			p, err := r.runner.Attach(r.dir)
			if err == nil {
				if p.Status().Ended {
					t.Errorf("with %d descriptors: %+v", n, p.Status())
				}
				p.Close()
				continue
			}
			tried++
			if errors.Is(err, ErrNoTrace) || !errors.Is(err, syscall.EMFILE) {
				t.Errorf("with %d descriptors: %v", n, err)
			}
			// A supervisor that is dead is looked for in /proc.
			if _, err := st.Supervisor.alive(); n == 0 && !errors.Is(err, syscall.EMFILE) {
				t.Errorf("alive: %v", err)
			}
			if _, err := orphans(st); n == 0 && err == nil {
				t.Errorf("orphans were looked for with %d descriptors", n)
			}
			if e, err := lost(r.dir, ""); err == nil && e.Seq != 4 {
				t.Errorf("with %d descriptors %d frames are found", n, e.Seq-FirstSeq)
			}
			for _, user := range []string{"nobody", "no-such-user"} {
				if _, err := LookupAccount(user); n == 0 && !errors.Is(err, syscall.EMFILE) {
					t.Errorf("user %s with %d descriptors: %v", user, n, err)
				}
			}
		}
		if tried < 2 {
			t.Errorf("%d failures", tried)
		}
	})
	if f.Status().Ended {
		t.Errorf("the follower: %+v", f.Status())
	}
	if err := r.Cancel(0); err != nil {
		t.Fatal(err)
	}
	if !<-listening || f.Status().Exit.Outcome != wire.Cancelled {
		t.Errorf("the follower: %+v", f.Status())
	}
}

// without runs f with a limit on descriptors: some(n) leaves n of them.
func without(t *testing.T, f func(some func(n int))) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	top := 0
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		top = max(top, n)
	}
	// All numbers below the limit are taken, so that the limit tells how many are left.
	var fill []*os.File
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		for _, f := range fill {
			f.Close()
		}
	}()
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		fill = append(fill, f)
		if int(f.Fd()) > top {
			top = int(f.Fd())
			break
		}
	}
	f(func(n int) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(top + 1 + n), Max: was.Max}); err != nil {
			t.Fatal(err)
		}
	})
}
