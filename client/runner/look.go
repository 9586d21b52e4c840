package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// file is what a file of an execution's directory is good for.
type file int

const (
	absent file = iota
	damaged
	whole
)

// found is what there is of an execution, on disk and alive.
type found struct {
	exit     file
	state    file
	thisBoot bool // the state is of this boot
	alive    bool // its supervisor is there: it answers, or the process lives

	e    Exit          // if exit is whole
	s    state         // if state is whole
	conn *net.UnixConn // to the supervisor; nil = it doesn't answer, or needn't be asked
}

// fate is what has become of an execution.
type fate int

const (
	noTrace    fate = iota // nothing was started
	hasEnded               // as exit says
	runs                   // or is about to
	rebooted               // lost: the host was restarted
	orphaned               // lost: its supervisor was killed
	unknowable             // lost: nobody has it, and what is on disk doesn't tell
)

// fate is the truth table of the package comment.
func (f *found) fate() fate {
	switch {
	case f.exit == whole:
		return hasEnded
	case f.state == whole && !f.thisBoot:
		return rebooted
	case f.alive:
		return runs
	case f.exit == damaged || f.state == damaged:
		return unknowable
	case f.state == absent:
		return noTrace
	}
	return orphaned
}

// look finds out what there is of an execution. An error says that this couldn't be found out now: it
// proves nothing.
func look(dir string) (f *found, err error) {
	f = &found{}
	if f.exit, err = f.readExit(dir); err != nil || f.exit == whole {
		return f, err
	}
	f.s, err = readState(dir)
	if f.state, err = judge(err); err != nil {
		return nil, err
	}
	if f.state == whole {
		boot, err := BootID()
		if err != nil {
			return nil, err
		}
		if f.thisBoot = f.s.Boot == boot; !f.thisBoot {
			return f, nil
		}
	}
	if f.conn, err = dialCtl(dir); err == nil {
		f.alive = true
		return f, nil
	}
	if !nobodyListens(err) {
		return nil, err
	}
	if f.alive, err = f.s.Supervisor.alive(); err != nil {
		return nil, err
	}
	// The exit is written before the supervisor ends, so it is looked for once more after that was seen.
	f.exit, err = f.readExit(dir)
	return f, err
}

func (f *found) readExit(dir string) (what file, err error) {
	f.e, err = readExit(dir)
	return judge(err)
}

// judge tells what an error of reading says of the file; one that says nothing of it is given back.
func judge(err error) (file, error) {
	switch {
	case err == nil:
		return whole, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return absent, nil
	case errors.Is(err, errUnreadable):
		return damaged, nil
	}
	return absent, err
}

// nobodyListens tells whether an error of dialling says that there is no supervisor. Others may be of
// this process: no descriptor, no memory, no room in the backlog.
func nobodyListens(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENOTSOCK)
}

// settle gives the exit of what doesn't run. Where its supervisor was killed, it kills what that has
// left, and returns when it is gone. It may be repeated after an error. cgroup is where the script is if
// the state doesn't tell.
func (f *found) settle(dir, cgroup string) (Exit, error) {
	why := ""
	switch f.fate() {
	case hasEnded:
		return f.e, nil
	case rebooted:
		return lost(dir, "the host was restarted while the script ran")
	case orphaned:
		why = "the script's supervisor was killed, and what was left of the script with it"
	case noTrace:
		why = "nothing is left of the script, nor of its supervisor"
	default:
		why = "the script's supervisor is gone, and what it left can't be read; what was left of the script was killed"
	}
	if f.state != whole {
		f.s.Execution, f.s.Cgroup = filepath.Base(dir), cgroup
	}
	if err := killOrphans(f.s); err != nil {
		return Exit{}, fmt.Errorf("runner: %s: what a dead supervisor left: %w", dir, err)
	}
	return lost(dir, why)
}

// lost is the exit of a script of which none is known. What it printed is still there.
func lost(dir, why string) (Exit, error) {
	last, bytes, err := (&spool{dir: dir}).count()
	if err != nil {
		return Exit{}, err
	}
	return Exit{Seq: last + 1, At: time.Now().UnixMilli(), Outcome: wire.Lost, ExitCode: -1, Reason: why, Bytes: bytes}, nil
}
