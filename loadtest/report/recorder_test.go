package report

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naive sums samples up in the plainest way.
func naive(samples []int64) Distribution {
	s := slices.Sorted(slices.Values(samples))
	at := func(percent int) Duration { return Duration(s[max(0, (percent*len(s)+99)/100-1)]) }
	var sum float64
	for _, v := range s {
		sum += float64(v)
	}
	d := Distribution{Count: int64(len(s)), Min: Duration(s[0]), Max: Duration(s[len(s)-1]), P50: at(50), P90: at(90), P99: at(99)}
	d.Mean = Duration(sum / float64(len(s)))
	return d
}

// like compares but for rounding of the mean.
func like(a, b Distribution) bool {
	diff := a.Mean - b.Mean
	a.Mean, b.Mean = 0, 0
	return a == b && diff >= -1 && diff <= 1
}

// TestRecorder compares with the plainest sums, in one recorder and in several that are merged.
func TestRecorder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Int64Range(-1e6, 1e15), 1, 300).Draw(t, "samples")
		parts := rapid.IntRange(1, 4).Draw(t, "parts")
		recorders := make([]Recorder, parts)
		for i, v := range samples {
			recorders[i%parts].Add(time.Duration(v))
		}
		var all Recorder
		for i := range recorders {
			b, err := recorders[i].MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			if err := all.Merge(b); err != nil {
				t.Fatal(err)
			}
		}
		if got := all.Distribution(); got == nil || !like(*got, naive(samples)) {
			t.Fatalf("%+v, want %+v", got, naive(samples))
		}
		if all.Count() != int64(len(samples)) {
			t.Fatalf("count %d", all.Count())
		}
	})
	if d := new(Recorder).Distribution(); d != nil {
		t.Errorf("of nothing: %+v", d)
	}
}

// TestRecorderIsBounded takes more samples than are kept: percentiles stay close, and what counts all counts all.
func TestRecorderIsBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const n = 100_000
	small, all := Recorder{Keep: 5000}, Recorder{}
	other := Recorder{Keep: 1000}
	for range n {
		d := time.Duration(random.ExpFloat64() * 1e9)
		small.Add(d)
		all.Add(d)
		other.Add(d)
	}
	if small.kept > 5000 || small.kept < 2500 {
		t.Errorf("%d samples are kept", small.kept)
	}
	exact := all.Distribution()
	check := func(what string, got *Distribution, count int64) {
		t.Helper()
		if got.Every < 2 || got.Count != count || got.Min != exact.Min || got.Max != exact.Max {
			t.Errorf("%s: %+v, exactly %+v", what, got, exact)
		}
		for _, p := range [][2]Duration{{got.P50, exact.P50}, {got.P90, exact.P90}, {got.P99, exact.P99}} {
			if r := float64(p[0]) / float64(p[1]); r < 0.8 || r > 1.25 {
				t.Errorf("%s: a percentile is %v, exactly %v", what, p[0], p[1])
			}
		}
	}
	check("bounded", small.Distribution(), n)
	done := small.Done("x", 100)
	if last := done.Values[len(done.Values)-1]; last < n*0.9 || last > n*1.1 {
		t.Errorf("the curve of completion ends at %v of %d", last, n)
	}
	// One that keeps less is merged into one that keeps more, and the other way round.
	for _, pair := range [][2]*Recorder{{&small, &other}, {&other, &all}} {
		b, err := pair[1].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		before := pair[0].Count()
		if err := pair[0].Merge(b); err != nil {
			t.Fatal(err)
		}
		check("merged", pair[0].Distribution(), before+pair[1].Count())
	}
}

// TestRecorderIsShared adds from many goroutines.
func TestRecorderIsShared(t *testing.T) {
	var r Recorder
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				r.Add(time.Duration(i))
				if i%500 == 0 {
					r.Distribution()
				}
			}
		})
	}
	wg.Wait()
	if d := r.Distribution(); d.Count != 8000 || d.P50 != 499 || d.Max != 999 {
		t.Errorf("%+v", d)
	}
}

func TestMergeRefuses(t *testing.T) {
	var r Recorder
	for i := range 100 {
		r.Add(time.Duration(i * i))
	}
	b, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var to Recorder
	for n := range len(b) {
		if err := to.Merge(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken", n, len(b))
		}
	}
	if err := to.Merge(append(b, 0)); err == nil {
		t.Error("a byte too many is taken")
	}
	if to.Count() != 0 {
		t.Errorf("%d samples came of what was refused", to.Count())
	}
}

func FuzzMerge(f *testing.F) {
	var r Recorder
	for i := range 10 {
		r.Add(time.Duration(i))
	}
	b, _ := r.MarshalBinary()
	f.Add(b)
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Recorder{Keep: 100}
		if err := r.Merge(b); err != nil {
			return
		}
		r.Distribution()
		r.Done("x", 10)
	})
}

// TestCurves checks completion and rate by hand.
func TestCurves(t *testing.T) {
	var r Recorder
	for _, ms := range []int{100, 100, 150, 900, 1000} {
		r.Add(time.Duration(ms) * time.Millisecond)
	}
	ms := func(n int) Duration { return Duration(time.Duration(n) * time.Millisecond) }
	done := r.Done("stored", 6)
	if !slices.Equal(done.Times, []Duration{ms(100), ms(100), ms(100), ms(150), ms(900), ms(1000)}) || !slices.Equal(done.Values, []float64{0, 1, 2, 3, 4, 5}) {
		t.Errorf("done: %+v", done)
	}
	if few := r.Done("stored", 2); few.Values[len(few.Values)-1] != 5 {
		t.Errorf("done in two points: %+v", few)
	}
	rate := r.Rate("stored", 500*time.Millisecond)
	if !slices.Equal(rate.Times, []Duration{ms(250), ms(750), ms(1250)}) || !slices.Equal(rate.Values, []float64{6, 2, 2}) {
		t.Errorf("rate: %+v", rate)
	}
	r.Add(24 * time.Hour)
	if long := r.Rate("stored", time.Millisecond); len(long.Times) > maxSlices || len(long.Times) < maxSlices/2 {
		t.Errorf("rate over a day in %d points", len(long.Times))
	}
	var none Recorder
	if s := none.Done("x", 10); len(s.Times) != 0 {
		t.Errorf("%+v", s)
	}
	if s := none.Rate("x", time.Second); len(s.Times) != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDurationJSON goes to seconds and back, exactly.
func TestDurationJSON(t *testing.T) {
	for d, want := range map[Duration]string{
		0: "0", 1: "0.000000001", -1: "-0.000000001", 1500000000: "1.5", Duration(time.Hour): "3600", -2500000: "-0.0025", 123456789012: "123.456789012",
	} {
		if b, err := json.Marshal(d); err != nil || string(b) != want {
			t.Errorf("%d: %s, %v; want %s", d, b, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(-1<<53, 1<<53).Draw(t, "d"))
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Duration
		if err := json.Unmarshal(b, &back); err != nil || back != d {
			t.Fatalf("%d: %s: %d, %v", d, b, back, err)
		}
	})
}

func BenchmarkRecorder(b *testing.B) {
	var r Recorder
	for i := range b.N {
		r.Add(time.Duration(i))
	}
}
