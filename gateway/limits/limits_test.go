package limits

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefusedComeBackEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Rate{PerSecond: 10, Burst: 10}, time.Minute)
		var back []time.Duration
		for range 110 {
			ok, after := g.Admit()
			if !ok {
				back = append(back, after)
			}
		}
		if len(back) != 100 {
			t.Fatalf("%d refused, want 100", len(back))
		}
		slices.Sort(back)
		if last := back[99]; last < 9*time.Second || last > 11*time.Second {
			t.Errorf("100 refused at 10 a second are due until %v, want about 10s", last)
		}
		var seconds [12]int
		for _, d := range back {
			seconds[d/time.Second]++
		}
		for s := 2; s < 9; s++ {
			if seconds[s] < 9 || seconds[s] > 11 {
				t.Errorf("%d due in second %d, want 10", seconds[s], s)
			}
		}
		time.Sleep(time.Second)
		if ok, _ := g.Admit(); !ok {
			t.Error("refused a second later")
		}
	})
}

func TestScheduleIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Rate{PerSecond: 1, Burst: 1}, 10*time.Second)
		for range 1000 {
			if ok, after := g.Admit(); !ok && (after < time.Second || after > 11*time.Second) {
				t.Fatalf("come back after %v", after)
			}
		}
		// Refusals beyond the schedule must not have moved it.
		time.Sleep(20 * time.Second)
		g.Admit()
		if _, after := g.Admit(); after > 2*time.Second {
			t.Errorf("after a quiet time: come back after %v", after)
		}
	})
}

func TestEachIsByIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEach(Rate{PerSecond: 0.5, Burst: 2}, 100)
		for range 2 {
			if ok, _ := e.Admit("a"); !ok {
				t.Fatal("refused within the burst")
			}
		}
		ok, after := e.Admit("a")
		if ok || after != 2*time.Second {
			t.Errorf("beyond the burst: %v, after %v, want 2s", ok, after)
		}
		if ok, _ := e.Admit("b"); !ok {
			t.Error("another identity was refused")
		}
		time.Sleep(2 * time.Second)
		if ok, _ := e.Admit("a"); !ok {
			t.Error("refused at the time that was told: a refusal must not count")
		}
	})
}
