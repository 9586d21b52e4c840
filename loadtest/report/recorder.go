package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// DefaultKeep is how many samples a Recorder keeps if nothing else is said: 128 MiB of them.
const DefaultKeep = 16 << 20

// chunk is the number of samples that are allocated at once.
const chunk = 8 << 10

// Recorder takes samples of a duration: millions, at some 40 ns each. It keeps them
// all, so that percentiles are exact; when there are more than Keep, it drops every second one,
// and from then on keeps each second only, and so on. It is safe for concurrent use. The zero value is ready.
//
// What was recorded in one process goes to another by MarshalBinary and Merge.
type Recorder struct {
	// Keep bounds the samples that are kept; 0 = DefaultKeep. It is set before the first Add.
	Keep int

	mu       sync.Mutex // guards what follows
	chunks   [][]int64  // all full but the last
	kept     int
	every    int64 // each so-manieth sample is kept; 0 = all
	skipped  int64 // since the last that was kept
	count    int64
	sum      float64 // of more than 2^63 ns if need be
	min, max int64
}

// Add takes a sample.
func (r *Recorder) Add(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(1, float64(d), int64(d), int64(d))
	if r.skipped++; r.skipped >= max(r.every, 1) {
		r.skipped = 0
		r.keep(int64(d))
	}
}

// note counts samples. mu is held.
func (r *Recorder) note(n int64, sum float64, least, most int64) {
	if r.count == 0 {
		r.min, r.max = least, most
	}
	r.count += n
	r.sum += sum
	r.min, r.max = min(r.min, least), max(r.max, most)
}

// keep keeps a sample. mu is held.
func (r *Recorder) keep(v int64) {
	limit := r.Keep
	if limit <= 0 {
		limit = DefaultKeep
	}
	if r.kept >= limit {
		r.thin()
	}
	if n := len(r.chunks); n == 0 || len(r.chunks[n-1]) == cap(r.chunks[n-1]) {
		r.chunks = append(r.chunks, make([]int64, 0, chunk))
	}
	last := len(r.chunks) - 1
	r.chunks[last] = append(r.chunks[last], v)
	r.kept++
}

// thin drops every second sample. mu is held.
func (r *Recorder) thin() {
	old := r.chunks
	r.chunks, r.kept = nil, 0
	r.every = max(r.every, 1) * 2
	i := 0
	for _, c := range old {
		for _, v := range c {
			if i++; i%2 == 0 {
				r.keep(v)
			}
		}
	}
}

// Count is how many samples were taken.
func (r *Recorder) Count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// sorted copies the kept samples and sorts them.
func (r *Recorder) sorted() (samples []int64, every int64) {
	r.mu.Lock()
	samples = slices.Concat(r.chunks...)
	every = r.every
	r.mu.Unlock()
	slices.Sort(samples)
	return samples, every
}

// Distribution sums up what was taken so far; nil if nothing was. It sorts a copy,
// about a second for ten million samples.
func (r *Recorder) Distribution() *Distribution {
	samples, every := r.sorted()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(samples) == 0 {
		return nil
	}
	d := &Distribution{
		Count: r.count, Min: Duration(r.min), Max: Duration(r.max), Mean: Duration(math.Round(r.sum / float64(r.count))),
		P50: Duration(rank(samples, 50)), P90: Duration(rank(samples, 90)), P99: Duration(rank(samples, 99)),
	}
	if every > 1 {
		d.Every = every
	}
	return d
}

// rank gives the sample at a percentile: the smallest that at least so many percent don't exceed.
func rank(sorted []int64, percent int) int64 {
	return sorted[max(0, (percent*len(sorted)+99)/100-1)]
}

// Done gives the completion curve: how many samples were at most so long, in at most
// so many points. The last point is the longest sample.
func (r *Recorder) Done(of string, points int) Series {
	samples, every := r.sorted()
	s := Series{Metric: MetricDone, Of: of}
	if len(samples) == 0 || points < 2 {
		return s
	}
	weight := float64(max(every, 1))
	s.Add(time.Duration(samples[0]), 0)
	for i := 1; i < points; i++ {
		n := len(samples) * i / (points - 1)
		if n == 0 || n == len(samples)*(i-1)/(points-1) {
			continue
		}
		s.Add(time.Duration(samples[n-1]), float64(n)*weight)
	}
	return s
}

// maxSlices bounds the points of Rate.
const maxSlices = 2000

// Rate gives how many samples a second fell into each slice of time of this width, from
// zero to the longest sample. A point is at the middle of its slice. Slices are twice as wide, or four times, and so on, if
// there would be more than 2,000.
func (r *Recorder) Rate(of string, width time.Duration) Series {
	s := Series{Metric: MetricRate, Of: of}
	samples, every := r.sorted()
	if len(samples) == 0 || width <= 0 {
		return s
	}
	for samples[len(samples)-1]/int64(width) >= maxSlices {
		width *= 2
	}
	weight := float64(max(every, 1)) / width.Seconds()
	i := 0
	for from := time.Duration(0); i < len(samples); from += width {
		n := 0
		for ; i < len(samples) && samples[i] < int64(from+width); i++ {
			n++
		}
		s.Add(from+width/2, float64(n)*weight)
	}
	return s
}

// binaryVersion begins what MarshalBinary gives.
const binaryVersion = 1

// MarshalBinary gives what was taken so far for Merge in another process.
func (r *Recorder) MarshalBinary() ([]byte, error) {
	samples, every := r.sorted()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := append(make([]byte, 0, 64+3*len(samples)), binaryVersion)
	b = binary.AppendVarint(b, r.count)
	b = binary.AppendUvarint(b, math.Float64bits(r.sum))
	b = binary.AppendVarint(b, r.min)
	b = binary.AppendVarint(b, r.max)
	b = binary.AppendVarint(b, max(every, 1))
	b = binary.AppendUvarint(b, uint64(len(samples)))
	var last int64
	for _, v := range samples {
		b = binary.AppendVarint(b, v-last) // sorted: small differences
		last = v
	}
	return b, nil
}

// Merge adds what MarshalBinary gave. On an error nothing was added.
func (r *Recorder) Merge(b []byte) error {
	if len(b) == 0 || b[0] != binaryVersion {
		return errors.New("report: not a recorder's samples")
	}
	in := reader{b: b[1:]}
	count, sum := in.varint(), math.Float64frombits(in.uvarint())
	least, most, every, n := in.varint(), in.varint(), in.varint(), in.uvarint()
	if in.bad || n > uint64(len(in.b)) || every < 1 || int64(n) > count {
		return errors.New("report: a recorder's samples are torn")
	}
	samples := make([]int64, n)
	var last int64
	for i := range samples {
		last += in.varint()
		samples[i] = last
	}
	if in.bad || len(in.b) > 0 {
		return fmt.Errorf("report: a recorder's samples are torn after %d of %d", n-uint64(len(in.b)), n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if count > 0 {
		r.note(count, sum, least, most)
	}
	// Both sides weigh alike only if both keep the same share.
	for max(r.every, 1) < every {
		r.thin()
	}
	for i, v := range samples {
		if step := max(r.every, 1) / every; int64(i)%step == 0 {
			r.keep(v)
		}
	}
	return nil
}

// reader reads varints.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}
