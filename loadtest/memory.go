package loadtest

import "runtime/metrics"

// memory is what the Go runtime says of its own, by the names of report.Usage.More. It doesn't stop the world.
func memory() map[string]float64 {
	names := []struct{ name, metric string }{
		{"goroutines", "/sched/goroutines:goroutines"},
		{"heap_alloc_bytes", "/memory/classes/heap/objects:bytes"},
		{"heap_unused_bytes", "/memory/classes/heap/unused:bytes"},
		{"stack_bytes", "/memory/classes/heap/stacks:bytes"},
	}
	samples := make([]metrics.Sample, len(names))
	for i, n := range names {
		samples[i].Name = n.metric
	}
	metrics.Read(samples)
	out := map[string]float64{}
	for i, n := range names {
		if samples[i].Value.Kind() == metrics.KindUint64 {
			out[n.name] = float64(samples[i].Value.Uint64())
		}
	}
	out["heap_bytes"] = out["heap_alloc_bytes"] + out["heap_unused_bytes"]
	return out
}
