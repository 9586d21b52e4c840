package queuetest

import (
	"testing"
)

// scenario is one story on a fresh store. run fails the test by e; the check of
// everything stored (env.check) follows it.
type scenario struct {
	name string
	run  func(e *env)
	once bool // not to be run with every verb applied twice: it counts calls, or races
}

// Run holds a store to the contract of queue.Store. It takes some seconds; its
// subtests run in parallel, each on a store of its own.
func Run(t *testing.T, f Factory) {
	groups := []struct {
		name      string
		scenarios []scenario
	}{
		{"arrows", arrowScenarios()},
		{"order", orderScenarios()},
		{"lease", leaseScenarios()},
		{"crowd", crowdScenarios()},
		{"record", recordScenarios()},
		{"late", lateScenarios()},
		{"claim", claimScenarios()},
		{"duplicate", duplicateScenarios()},
		{"cancel", cancelScenarios()},
		{"expand", expandScenarios()},
		{"offline", offlineScenarios()},
		{"supersede", supersedeScenarios()},
		{"recheck", recheckScenarios()},
		{"purge", purgeScenarios()},
		{"situations", situationScenarios()},
		{"submit", submitScenarios()},
		{"listing", listingScenarios()},
		{"output", outputScenarios()},
		{"time", timeScenarios()},
		{"retention", retentionScenarios()},
		{"hosts", hostScenarios()},
		{"bound", boundScenarios()},
		{"hints", hintScenarios()},
		{"concurrent", concurrentScenarios()},
		{"reopen", reopenScenarios()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range g.scenarios {
				t.Run(s.name, func(t *testing.T) { runScenario(t, f, s, false) })
				if !s.once {
					t.Run(s.name+"/twice", func(t *testing.T) { runScenario(t, f, s, true) })
				}
			}
		})
	}
	t.Run("model", func(t *testing.T) {
		t.Parallel()
		runModel(t, f)
	})
}

func runScenario(t *testing.T, f Factory, s scenario, twice bool) {
	t.Parallel()
	e := newEnv(t, f.Open(t), twice)
	s.run(e)
	e.check()
	if err := e.in.Store.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
