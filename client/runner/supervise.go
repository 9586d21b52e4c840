package runner

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Verb is the first argument of a process that is to be a supervisor; the
// second is the execution's directory.
const Verb = "supervise"

// Hook makes this process a supervisor, and doesn't return, if it was started as
// one. Call it first in main, and in TestMain of tests that start scripts.
func Hook() {
	if len(os.Args) != 3 || os.Args[1] != Verb {
		return
	}
	if err := supervise(os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", Verb, os.Args[2], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// order is what the supervisor reads from its standard input.
type order struct {
	Version int     `json:"version"`
	Spec    Spec    `json:"spec"`
	Account Account `json:"account"`
	Cgroup  string  `json:"cgroup,omitempty"` // to be made for the script
}

// ctlFD is the descriptor of the listening control socket.
const ctlFD = 3

// supervise runs one script from beginning to end.
func supervise(dir string) error {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("no order on standard input (this command is for the agent's own use): %w", err)
	}
	if o.Version != stateVersion {
		return fmt.Errorf("order of version %d, only %d is known", o.Version, stateVersion)
	}
	listener, err := inheritedListener()
	if err != nil {
		return err
	}
	// What ends the agent must not end its jobs. The signals are caught, not ignored: the script
	// would inherit that.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE)
	if err := becomeSubreaper(); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	syscall.Umask(0o022)
	s, err := newSupervisor(dir, o)
	if err != nil {
		return err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.board.serve(listener, s.notes)
	}()
	s.start()
	s.loop()
	err = listener.Close()
	<-served
	s.board.readers.Wait()
	return err
}

func inheritedListener() (net.Listener, error) {
	unix.CloseOnExec(ctlFD)
	f := os.NewFile(ctlFD, ctlName)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is not the control socket: %w", ctlFD, err)
	}
	return l, nil
}

// placeScript writes the script where its user can read it.
func placeScript(dir string, spec Spec, acc Account) (string, error) {
	path := filepath.Join(dir, scriptName)
	if err := os.WriteFile(path, spec.Script, 0o700); err != nil {
		return "", err
	}
	if acc.Switch {
		if err := os.Chown(path, int(acc.UID), int(acc.GID)); err != nil {
			return "", err
		}
	}
	return path, os.Chmod(path, 0o700)
}

// clock gives the host's wall time as it was at the start, plus what has passed
// since: a clock that is set meanwhile doesn't reorder frames.
type clock struct{ base time.Time }

func (c clock) now() time.Time {
	return c.base.Round(0).Add(time.Since(c.base))
}
