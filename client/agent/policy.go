package agent

import (
	"errors"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// Policy says what may run on this host. Check is called before a job is
// accepted; its error is the reason that the operator reads. It may be called concurrently.
type Policy interface {
	Check(job *wire.Job) error
}

// UserPolicy lets jobs run as the agent's own user, or, if that is root, as any
// user of the host. To run as root is refused unless allowed.
type UserPolicy struct{ AllowRoot bool }

// Check implements Policy.
func (p UserPolicy) Check(job *wire.Job) error {
	acc, err := runner.LookupAccount(job.Spec.User)
	if err != nil {
		return err
	}
	if acc.UID == 0 && !p.AllowRoot {
		return errors.New("jobs don't run as root on this host: the job must name another user, or the agent be started with --allow-root")
	}
	return nil
}
