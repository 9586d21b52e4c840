package loadtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scenario is what is done with a fleet that is connected.
type Scenario struct {
	Name  string
	About string // for people, one line
	Hosts int    // if nothing else is said
	Mix   string // likewise
	// Script of the job that all hosts get.
	Script string
	// PollWait is how long a poll asks to be held, if nothing else is said: 0 = as real agents do, negative = not at all.
	PollWait time.Duration
	// For is how long is measured where no job says how long; 0 = until the job is done.
	For time.Duration

	do func(ctx context.Context, r *run) error
}

// Scenarios gives all of them.
func Scenarios() []Scenario { return []Scenario{echoSleep(), fanOut(), idle(), polls(), Script("")} }

// FindScenario gives the one of a name.
func FindScenario(name string) (Scenario, error) {
	all := Scenarios()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i >= 0 {
		return all[i], nil
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return Scenario{}, fmt.Errorf("there is no scenario %q, only %s", name, strings.Join(names, ", "))
}
