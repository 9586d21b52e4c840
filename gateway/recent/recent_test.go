package recent

import (
	"testing"

	"pgregory.net/rapid"
)

func TestBoundAndRecency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		max := rapid.IntRange(2, 20).Draw(t, "max")
		m := New[int, int](max)
		last := map[int]int{} // what was put last
		for i := range 200 {
			k := rapid.IntRange(0, 40).Draw(t, "k")
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				m.Put(k, i)
				last[k] = i
				if v, ok := m.Get(k); !ok || v != i {
					t.Fatalf("%d just put is %d, %v", k, v, ok)
				}
			case 1:
				if v, ok := m.Get(k); ok && v != last[k] {
					t.Fatalf("%d is %d, want %d", k, v, last[k])
				}
			case 2:
				m.Delete(k)
				if _, ok := m.Get(k); ok {
					t.Fatalf("%d is there after Delete", k)
				}
			case 3:
				v := m.GetOr(k, func() int { last[k] = i; return i })
				if v != last[k] {
					t.Fatalf("GetOr %d is %d, want %d", k, v, last[k])
				}
			}
			if m.Len() > max+1 {
				t.Fatalf("%d entries, at most %d", m.Len(), max)
			}
		}
	})
}

func TestUsedEntriesStay(t *testing.T) {
	m := New[int, string](10)
	m.Put(0, "kept")
	for i := 1; i < 1000; i++ {
		m.Put(i, "x")
		if _, ok := m.Get(0); !ok {
			t.Fatalf("forgot an entry in use after %d others", i)
		}
	}
}
